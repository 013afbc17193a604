"""The columns of a campaign's rows, with every name by which they are known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from airflow_provider_jimeng.core.catalogue import REFUSED_ARGUMENTS
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.core.texts import shorten

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("提示词", "提示语", "视频提示词", "画面描述", "视频描述"),
    "model": ("模型", "模型名称", "视频模型"),
    "duration": ("时长", "视频时长", "秒数"),
    "aspect_ratio": ("ratio", "比例", "宽高比", "画面比例", "视频比例", "画幅"),
    "seed": ("种子", "随机种子", "种子值"),
    "first_frame": ("image", "首帧", "首帧图", "首帧图片", "首图"),
    "last_frame": ("尾帧", "尾帧图", "尾帧图片", "末帧", "尾图"),
    "camera_template": ("运镜", "运镜模板", "运镜方式"),
    "camera_strength": ("运镜强度",),
    "take": ("版本", "版次"),
    "extra_body": ("额外参数", "附加参数"),
    "output_name": ("output", "name", "文件名", "文件名称", "输出文件名", "视频文件名"),
    "output_path": ("输出路径", "输出目录", "保存路径", "保存目录"),
}
"""What a row may hold, with other names that are understood. All but the last two are arguments of a render."""

_UNIT = re.compile(r"\(.*?\)$|\[.*?\]$")
_BLANKS = re.compile(r"[\s_-]+")
_SEPARATORS = re.compile(r"[,，、;；\n]")
_LONGEST_NAME = 200
_LONGEST_SHOWN = 80


def plain_name(name: Any) -> str:
    """Return a column's name without what people put around it: case, blanks, a unit in brackets, ``*`` and ``:``."""
    text = unicodedata.normalize("NFKC", str(name)[:_LONGEST_NAME])
    text = "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cc"))
    text = _UNIT.sub("", text.strip().strip("*:").strip()).strip("*: ")
    return _BLANKS.sub("_", text.lower()).strip("_")


_NAMES: Mapping[str, str] = {
    plain_name(name): column for column, aliases in COLUMNS.items() for name in (column, *aliases)
}


def column_of(name: Any) -> str | None:
    """Return the column that a name means; ``None`` if no column is called that."""
    return _NAMES.get(plain_name(name))


def unknown_column(name: Any) -> str:
    """Say that a name is not a column, with the nearest one that is."""
    plain = plain_name(name)
    if plain in REFUSED_ARGUMENTS:
        return f"is refused: {REFUSED_ARGUMENTS[plain]}"
    nearest = get_close_matches(plain[:_LONGEST_SHOWN], _NAMES, n=1)
    if nearest:
        return f"is not a column. Did you mean {nearest[0]}? If not, add it to ignore_columns."
    return f"is not a column. A row takes {', '.join(COLUMNS)}. Add it to ignore_columns if it is not for the renders."


def read_ignored(names: Any) -> frozenset[str]:
    """Return the names of columns that are not for us; text holds several of them between commas.

    :raises ParameterError: it is neither text nor a list of texts.
    """
    if names is None:
        return frozenset()
    if isinstance(names, str):
        names = _SEPARATORS.split(names.strip().strip("[]"))
    if isinstance(names, Mapping | bytes) or not isinstance(names, Iterable):
        raise ParameterError("ignore_columns", f"expected names of columns, got {type(names).__name__}.")
    plain = (plain_name(str(name).strip().strip("'\"")) for name in names)
    return frozenset(name for name in plain if name and name != "none")


def check_header(header: Iterable[Any]) -> None:
    """Refuse a table in whose header nothing is a column: it is something else, or begins further below.

    :raises ParameterError: showing the header as it was read.
    """
    names = [str(name).strip() for name in header if str(name).strip()]
    if not any(column_of(name) for name in names):
        shown = shorten(", ".join(shorten(repr(name), _LONGEST_SHOWN) for name in names), 400)
        raise ParameterError(
            "rows",
            f"the first line that is not blank holds none of the columns. It reads: {shown}. "
            f"The header must come first and name columns: {', '.join(COLUMNS)}.",
        )
