# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from airflow_provider_jimeng import exceptions
from airflow_provider_jimeng.core import errors


def test_every_error_of_the_package_can_be_imported_from_exceptions_and_stands_in_its_tree() -> None:
    public = {
        name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")
    }
    ours = {name for name in public if issubclass(getattr(errors, name), errors.JimengError)}
    assert set(exceptions.__all__) == ours
    assert not [name for name in ours if getattr(exceptions, name) is not getattr(errors, name)]
    assert not ours - set(str(exceptions.__doc__).split())
