from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.catalogue import MODELS, ModelSpec, read_field, read_price
from airflow_provider_jimeng.core.errors import SettingsError

FIELDS = [each.name for each in fields(ModelSpec)]


def test_a_price_may_be_text_or_a_number(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["0.28", 0.28, Decimal("0.28")]
    for value in cases:
        with subtests.test(value=repr(value)):
            assert read_price("prices.a", value) == Decimal("0.28")


def test_anything_else_is_no_price(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [-1, "cheap", True, [], "nan", "inf"]
    for value in cases:
        with (
            subtests.test(value=repr(value)),
            pytest.raises(
                SettingsError, match=r"extra.prices.a: expected CNY per second such as 0.28, or null"
            ),
        ):
            read_price("prices.a", value)


def test_a_field_of_the_wrong_kind_is_refused_with_what_it_takes(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any, str]] = [
        ("durations", "5", "a list of whole seconds"),
        ("durations", [], "a list of whole seconds"),
        ("durations", ["5"], "a list of whole seconds"),
        ("durations", [0], "a list of whole seconds"),
        ("aspect_ratios", "16:9", "a list such as"),
        ("aspect_ratios", ["16x9"], "a list such as"),
        ("aspect_ratios", ["0:9"], "a list such as"),
        ("aspect_ratios", [16.9], "a list such as"),
        ("sizes", [[1, 2]], "an object such as"),
        ("sizes", {"wide": [1, 2]}, "an object such as"),
        ("sizes", {"16:9": [1]}, "an object such as"),
        ("sizes", {"16:9": "1x2"}, "an object such as"),
        ("sizes", {"16:9": [1, 0]}, "an object such as"),
        ("prompt_max", 0, "a whole number from 1"),
        ("prompt_max", "800", "a whole number from 1"),
        ("prompt_max", True, "a whole number from 1"),
        ("max_images", 3, "a whole number from 0 to 2"),
        ("min_images", -1, "a whole number from 0 to 2"),
        ("camera", "yes", "true or false"),
        ("prompt_required", 1, "true or false"),
        ("req_key", "", "text"),
        ("title", None, "text"),
        ("price_cny_per_second", "cheap", "CNY per second"),
    ]
    for name, value, expected in cases:
        with subtests.test(name=repr(name), value=repr(value), expected=repr(expected)):
            with pytest.raises(SettingsError, match=rf"extra\.models\.m\.{name}: expected {expected}"):
                read_field(f"models.m.{name}", name, value)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_what_the_catalogue_holds_may_be_said_by_a_connection(spec: ModelSpec, name: str) -> None:
    value = getattr(spec, name)
    said: Any = list(value) if isinstance(value, tuple) else value
    if name == "sizes":
        said = {ratio: list(size) for ratio, size in value.items()}
    if said in (None, ""):
        return

    assert read_field(f"models.m.{name}", name, said) == value


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(FIELDS), JSON)
def test_any_json_is_read_or_refused_by_name(name: str, value: Any) -> None:
    refused = ""
    try:
        read_field(f"models.m.{name}", name, value)
    except SettingsError as error:
        refused = str(error)
    assert not refused or f"extra.models.m.{name}: expected " in refused
