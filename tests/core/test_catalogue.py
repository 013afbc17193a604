# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_jimeng.core.catalogue import (
    CAMERA_STRENGTHS,
    CAMERA_TEMPLATES,
    DEFAULT_MODEL,
    LINK_SECONDS,
    MODELS,
    OTHER_PRODUCTS,
    RETENTION_SECONDS,
    WRONG_KEYS,
    ModelSpec,
    find_model,
    merged_catalogue,
    read_field,
    read_price,
)
from airflow_provider_jimeng.core.errors import ParameterError, SettingsError

ALL_RATIOS = {"16:9", "4:3", "1:1", "3:4", "9:16", "21:9"}

# Short name, key, images, durations, takes an aspect ratio, longest prompt, CNY per second, doc page.
DOCUMENTED: list[tuple[str, str, tuple[int, int], tuple[int, ...], bool, int, str, str | None]] = [
    ("t2v_720p", "jimeng_t2v_v30", (0, 0), (5, 10), True, 800, "0.28", "1792704"),
    ("i2v_first_720p", "jimeng_i2v_first_v30", (1, 1), (5, 10), False, 800, "0.28", "1785204"),
    ("i2v_first_tail_720p", "jimeng_i2v_first_tail_v30", (2, 2), (5, 10), False, 800, "0.28", "1791184"),
    ("i2v_recamera_720p", "jimeng_i2v_recamera_v30", (1, 1), (5, 10), False, 800, "0.28", "1785201"),
    ("t2v_1080p", "jimeng_t2v_v30_1080p", (0, 0), (5, 10), True, 800, "0.63", None),
    ("i2v_first_1080p", "jimeng_i2v_first_v30_1080", (1, 1), (5, 10), False, 800, "0.63", None),
    (
        "i2v_first_tail_1080p",
        "jimeng_i2v_first_tail_v30_1080",
        (2, 2),
        (5, 10),
        False,
        800,
        "0.63",
        "1802721",
    ),
    ("ti2v_pro", "jimeng_ti2v_v30_pro", (0, 1), (5, 10), True, 800, "1.00", "1777001"),
    ("t2v_s2_pro", "jimeng_vgfm_t2v_l20", (0, 0), (5,), True, 150, "0.65", "1538636"),
    ("i2v_s2_pro", "jimeng_vgfm_i2v_l20", (1, 1), (5,), True, 150, "0.65", "1544774"),
]
SPECS = list(MODELS.values())


def name_of(spec: ModelSpec) -> str:
    return spec.name


def test_every_documented_model_has_its_record(subtests: pytest.Subtests) -> None:
    for row in DOCUMENTED:
        with subtests.test(row=row[0]):
            name, key, images, durations, ratios, prompt_max, price, page = row
            spec = MODELS[name]

            assert (spec.name, spec.req_key) == (name, key)
            assert (spec.min_images, spec.max_images) == images
            assert spec.durations == durations
            assert bool(spec.aspect_ratios) is ratios
            assert spec.prompt_max == prompt_max
            assert spec.price_cny_per_second == Decimal(price)
            assert spec.doc_page == page


def test_the_catalogue_has_no_other_models() -> None:
    assert list(MODELS) == [row[0] for row in DOCUMENTED]


def test_every_model_is_found_by_name_and_by_key(subtests: pytest.Subtests) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            assert find_model(spec.name) is spec
            assert find_model(f" {spec.req_key} ") is spec


def test_every_model_predicts_a_size_for_every_ratio(subtests: pytest.Subtests) -> None:
    for spec in SPECS:
        with subtests.test(spec=name_of(spec)):
            assert set(spec.sizes) == ALL_RATIOS
            assert set(spec.aspect_ratios) in (set(), ALL_RATIOS)
            for ratio, (width, height) in spec.sizes.items():
                across, down = map(int, ratio.split(":"))
                assert width / height == pytest.approx(across / down, rel=0.02)


def test_the_default_ratio_is_16_9_wherever_there_is_one() -> None:
    assert {spec.aspect_ratios[0] for spec in SPECS if spec.aspect_ratios} == {"16:9"}


def test_the_documented_sizes_are_told_apart() -> None:
    assert MODELS["t2v_720p"].sizes["16:9"] == (1248, 704)
    assert MODELS["t2v_1080p"].sizes["16:9"] == (1920, 1088)
    assert MODELS["ti2v_pro"].sizes["21:9"] == (2176, 928)
    assert MODELS["t2v_s2_pro"].sizes["16:9"] == (1280, 720)
    assert {spec.sizes_confidence for spec in SPECS} == {"L", "M-L", "H"}


def test_only_pro_renders_an_image_without_a_prompt() -> None:
    assert [spec.name for spec in SPECS if not spec.prompt_required] == ["ti2v_pro"]


def test_only_one_model_takes_a_camera_and_s2_takes_no_frames_field() -> None:
    assert [spec.name for spec in SPECS if spec.camera] == ["i2v_recamera_720p"]
    assert [spec.name for spec in SPECS if not spec.takes_frames] == ["t2v_s2_pro", "i2v_s2_pro"]


def test_the_camera_takes_eleven_templates_and_three_strengths() -> None:
    assert len(set(CAMERA_TEMPLATES)) == 11
    assert CAMERA_STRENGTHS == ("weak", "medium", "strong")


def test_the_api_keeps_a_render_twelve_hours_and_a_link_one() -> None:
    assert (RETENTION_SECONDS, LINK_SECONDS) == (43_200, 3_600)


def test_the_inputs_read_as_words(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, str]] = [
        ("t2v_720p", "text"),
        ("i2v_first_720p", "text + 1 image"),
        ("i2v_first_tail_720p", "text + 2 images"),
        ("ti2v_pro", "text and/or 1 image"),
    ]
    for name, inputs in cases:
        with subtests.test(name=repr(name), inputs=repr(inputs)):
            assert MODELS[name].inputs == inputs


CIRCULATING = {
    "jimeng_t2v_v30_pro": "jimeng_ti2v_v30_pro",
    "jimeng_t2v_v30_720p": "jimeng_t2v_v30",
    "jimeng_i2v_first_v30_1080p": "jimeng_i2v_first_v30_1080",
    "jimeng_i2v_first_tail_v30_1080p": "jimeng_i2v_first_tail_v30_1080",
    "jimeng_i2v_first_frame": "jimeng_i2v_first_v30",
    "jimeng_v30": "jimeng_t2v_v30",
    "jimeng_v30_1080p": "jimeng_t2v_v30_1080p",
    "jimeng_v30_pro": "jimeng_ti2v_v30_pro",
}


def test_a_wrong_key_in_circulation_is_refused_with_the_right_one(subtests: pytest.Subtests) -> None:
    for wrong, right in CIRCULATING.items():
        with subtests.test(wrong=repr(wrong), right=repr(right)):
            with pytest.raises(
                ParameterError, match=f"model: '{wrong}' is in use.* Use '{right}' "
            ) as caught:
                find_model(wrong)

            assert find_model(right).name in str(caught.value)


def test_every_wrong_key_leads_to_a_model() -> None:
    assert dict(WRONG_KEYS) == CIRCULATING
    assert all(find_model(right) for right in WRONG_KEYS.values())


def test_a_wrong_key_whose_model_is_gone_still_names_the_key() -> None:
    with pytest.raises(ParameterError, match="short name 'jimeng_t2v_v30'"):
        find_model("jimeng_v30", {"ti2v_pro": MODELS["ti2v_pro"]})


def test_the_key_of_another_product_is_refused_with_what_it_is(subtests: pytest.Subtests) -> None:
    for key in OTHER_PRODUCTS:
        with (
            subtests.test(key=repr(key)),
            pytest.raises(ParameterError, match=r"belongs to .*does not cover"),
        ):
            find_model(key)


def test_a_tutorials_key_of_action_imitation_is_refused_with_the_right_one() -> None:
    with pytest.raises(ParameterError, match="jimeng_dreamactor_m20_gen_video"):
        find_model("jimeng_motion_imitation_v2")


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_way_out(subtests: pytest.Subtests) -> None:
    cases: list[str] = ["jimeng_t2v_v35", "veo", "T2V_720P"]
    for model in cases:
        with subtests.test(model=repr(model)):
            with pytest.raises(
                ParameterError, match=f"'{model}' is unknown. Known models: t2v_720p, .*like"
            ) as caught:
                find_model(model)

            assert caught.value.argument == "model"


def test_what_is_no_name_is_refused(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [None, "", " ", 30, ["t2v_720p"]]
    for model in cases:
        with subtests.test(model=repr(model)):
            with pytest.raises(ParameterError, match="model: expected a model name"):
                find_model(model)


def test_without_a_connections_word_the_catalogue_is_as_it_is() -> None:
    assert merged_catalogue() == MODELS
    assert merged_catalogue({}, {}) == MODELS


def test_a_connection_may_change_a_price_by_name_or_key_or_call_it_unknown() -> None:
    catalogue = merged_catalogue(prices={"t2v_720p": 0.3, "jimeng_ti2v_v30_pro": "0.9", "t2v_1080p": None})

    assert catalogue["t2v_720p"].price_cny_per_second == Decimal("0.3")
    assert catalogue["ti2v_pro"].price_cny_per_second == Decimal("0.9")
    assert catalogue["t2v_1080p"].price_cny_per_second is None
    assert MODELS["t2v_720p"].price_cny_per_second == Decimal("0.28")


def test_a_connection_may_change_every_field_of_a_model() -> None:
    catalogue = merged_catalogue(
        {
            "t2v_720p": {
                "req_key": "jimeng_t2v_v31",
                "title": "3.1",
                "prompt_max": 1200,
                "prompt_required": False,
                "durations": [5, 10, 15],
                "takes_frames": False,
                "aspect_ratios": ["16:9", "2:1"],
                "min_images": 0,
                "max_images": 2,
                "camera": True,
                "sizes": {"2:1": [1408, 704]},
                "price_cny_per_second": "0.4",
                "note": "changed",
            }
        }
    )
    spec = find_model("jimeng_t2v_v31", catalogue)

    assert (spec.name, spec.title, spec.prompt_max, spec.note) == ("t2v_720p", "3.1", 1200, "changed")
    assert (spec.durations, spec.aspect_ratios) == ((5, 10, 15), ("16:9", "2:1"))
    assert (spec.sizes, spec.price_cny_per_second) == ({"2:1": (1408, 704)}, Decimal("0.4"))
    assert (spec.prompt_required, spec.takes_frames, spec.camera) == (False, False, True)
    with pytest.raises(ParameterError, match="unknown"):
        find_model("jimeng_t2v_v30", catalogue)


def test_a_connection_may_add_a_key_that_is_like_a_known_model() -> None:
    catalogue = merged_catalogue({"jimeng_t2v_v40": {"like": "t2v_720p", "durations": [8]}})
    spec = find_model("jimeng_t2v_v40", catalogue)

    assert (spec.name, spec.req_key, spec.title) == ("jimeng_t2v_v40", "jimeng_t2v_v40", "jimeng_t2v_v40")
    assert spec.durations == (8,)
    assert spec.aspect_ratios == MODELS["t2v_720p"].aspect_ratios


def test_an_added_name_may_have_its_own_key() -> None:
    catalogue = merged_catalogue({"t2v_4k": {"like": "jimeng_t2v_v30_1080p", "req_key": "jimeng_t2v_v40_4k"}})

    assert find_model("jimeng_t2v_v40_4k", catalogue).name == "t2v_4k"


def test_a_known_model_may_become_like_another_and_keeps_its_key() -> None:
    spec = merged_catalogue({"jimeng_t2v_v30": {"like": "t2v_1080p"}})["t2v_720p"]

    assert (spec.name, spec.req_key) == ("t2v_720p", "jimeng_t2v_v30")
    assert spec.sizes == MODELS["t2v_1080p"].sizes


def test_a_wrong_key_that_a_connection_describes_is_let_through() -> None:
    catalogue = merged_catalogue({"jimeng_v30": {"like": "t2v_720p"}})

    assert find_model("jimeng_v30", catalogue).req_key == "jimeng_v30"


def test_a_later_record_and_a_price_may_build_on_an_earlier_record() -> None:
    catalogue = merged_catalogue(
        {"a_new_one": {"like": "t2v_720p"}, "another": {"like": "a_new_one"}}, {"another": "2"}
    )

    assert catalogue["another"].price_cny_per_second == Decimal(2)


def test_a_record_that_does_not_hold_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"t2v_720p": 5}, "extra.models.t2v_720p: expected an object.*got int"),
        ({"novel": {}}, 'extra.models.novel: a new model needs "like".*Known models: t2v_720p'),
        ({"novel": {"like": "unheard"}}, 'needs "like"'),
        ({"t2v_720p": {"fps": 30, "name": "x"}}, "unknown field fps, name. A record takes aspect_ratios"),
        ({"t2v_720p": {"min_images": 1}}, "min_images 1 is more than max_images 0"),
        ({"t2v_720p": {"durations": []}}, "models.t2v_720p.durations: expected a list of whole seconds"),
    ]
    for models, says in cases:
        with subtests.test(models=repr(models), says=repr(says)), pytest.raises(SettingsError, match=says):
            merged_catalogue(models)


def test_a_price_of_no_model_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"extra.prices: 'veo' is not a known model. Known models: t2v_720p"
    ):
        merged_catalogue(prices={"veo": 1})


def test_the_default_model_is_in_the_catalogue() -> None:
    assert DEFAULT_MODEL in MODELS


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
