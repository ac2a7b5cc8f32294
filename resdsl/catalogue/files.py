"""Words for mistakes about files: what cannot be read, what is too large, what `use` does not find."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_GOOD = """\
network tiny {
  input 3 x 32 x 32
  4 x { conv(3x3, 16) -> bn -> relu }
}
"""

ENTRIES = (
    Entry(
        "R0001",
        "the file cannot be read: {reason}",
        "",
        "The file does not exist, is a folder, or may not be read by you.",
        "",
        "",
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0002",
        "the file is too large: a spec has at most {limit}",
        "",
        "The limit keeps a file that is no spec from filling the memory. A spec of thousands of layers is "
        "short: repeat "
        "blocks with `18 x basic`, and split large collections over several files with `use`.",
        "",
        "",
    ),
    Entry(
        "R0003",
        "the nesting is too deep",
        "more than {limit} levels",
        "Brackets, braces and expressions may be nested only so deep. Give inner parts a name: a block of their own, "
        "or a parameter.",
        "",
        "",
    ),
    Entry(
        "R0004",
        "the network is too large: more than {limit} steps",
        "this asks for too many",
        "A network may have a million steps. Most likely a number is too large by some zeros, or a block repeats "
        "itself inside a repetition.",
        "network tiny {\n  input 3 x 32 x 32\n  4G x { conv(3x3, 16) -> bn -> relu }\n}\n",
        _GOOD,
        hints=("repeat less often, or split the network",),
    ),
    Entry(
        "R0005",
        "the file is not UTF-8 text",
        "these bytes are no character",
        "Specs are UTF-8 text. Save the file in that encoding; a spec with nothing but ASCII characters is "
        "UTF-8 already.",
        "",
        "",
        related={"bytes": "these bytes"},
    ),
    Entry(
        "R0601",
        "there is no file `{path}`",
        "not found beside this file, in a root, or among the specs of resdsl",
        "`use` names a file relative to the file that it stands in, to a root given on the command line, or to the "
        "specs that come with resdsl. The path is written with `/` and ends in `.res`.",
        'use "families/no_such_family.res"\n',
        "shortcut mine { projection }\n",
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0602",
        "`{path}` leads out of the folders that a spec may use",
        "outside this file's folder and the roots",
        "A spec can only use files in its own folder and below, in the roots given on the command line, and among the "
        "specs that come with resdsl, so that a spec from elsewhere cannot read other files of yours.",
        'use "../../secret.res"\n',
        "shortcut mine { projection }\n",
        hints=("name the folder with `--root`, and write the path relative to it",),
    ),
    Entry(
        "R0603",
        "files use each other in a circle",
        "{cycle}",
        "A file that uses another one cannot be used by it in turn. Move what both need into a third file.",
        'use "other.res"\n',
        "shortcut mine { projection }\n",
        beside={"other.res": 'use "example.res"\n'},
    ),
    Entry(
        "R0604",
        "two used files define `{name}`",
        "with this, `{name}` has two meanings",
        "Each name stands for one thing in a file. Rename one of the two, or use only one of the files; a definition "
        "in the file itself comes before both.",
        'use "one.res"\nuse "two.res"\n',
        "block own {\n  conv(3x3, filters) -> bn\n}\n",
        related={"first": "`{name}` is defined here", "second": "and here"},
        beside={
            "one.res": "block own { conv(3x3, 16) -> bn }\n",
            "two.res": "block own { conv(1x1, 16) -> bn }\n",
        },
    ),
    Entry(
        "R0605",
        "too many files",
        "a spec uses at most {limit} files in all",
        "The limit keeps a mistake in generated specs from running for ever. Put several definitions into one file.",
        "",
        "",
    ),
    Entry(
        "R0606",
        "`{path}` is not a path that `use` takes",
        "a relative path with `/` that ends in `.res` is wanted",
        "A path is relative, to the file that it stands in or to a root, so that a spec means the same on every "
        "machine; folders are separated by `/`, and specs end in `.res`.",
        'use "library/residual"\n',
        'use "library/residual.res"\n',
    ),
)
