"""`resdsl pack`: many images in one file, which `--data` takes in place of their folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.train.pack import PackReport

OK, USER_MISTAKE = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `resdsl pack`."""
    parser.add_argument("images", metavar="DIR", type=Path, help="folder or tar with train/ and test/ or val/")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=_size,
        default=256,
        help="resize images whose shorter side is longer; 0 for none (default: 256)",
    )
    parser.add_argument(
        "--quality", metavar="Q", type=_quality, default=90, help="of the resized images' JPEGs, 1 to 100 (default: 90)"
    )
    parser.add_argument(
        "--strict-data", action="store_true", help="one corrupt image is an error; else one of a hundred may be"
    )


def run(args: argparse.Namespace) -> int:
    """List the images, pack them, and say what came of it."""
    from resdsl.train.errors import TrainError
    from resdsl.train.layout import list_images
    from resdsl.train.missing import require_place
    from resdsl.train.pack import is_packed, write_pack

    from .progress import ProgressReporter

    console: Console = args.console
    try:
        place = require_place("folder", args.images)
        if args.out.exists() and args.out.samefile(place):
            console.print_error(f"{args.out} is what there is to pack; write to another file")
            return USER_MISTAKE
        if args.out.is_file() and not is_packed(args.out):
            console.print_error(f"{args.out} exists and is no packed file; write to another file")
            return USER_MISTAKE
        with ProgressReporter(console) as reporter:
            report = write_pack(
                list_images("folder", place),
                args.out,
                shorter=args.size,
                quality=args.quality,
                progress=reporter.loading,
                note=reporter.note,
                strict=args.strict_data,
            )
    except TrainError as error:
        console.print_error(str(error))
        return USER_MISTAKE
    _conclude(console, args.out, report)
    return OK


def _conclude(console: Console, path: Path, report: PackReport) -> None:
    images = " and ".join(f"{count:,} {split}" for split, count in report.images.items())
    console.print_ok(f"{path}: {images} images of {report.classes:,} classes, {report.bytes / (1 << 20):,.1f} MiB")
    details = [f"{report.resized:,} images were resized"] if report.resized else []
    details += [f"{report.corrupt:,} corrupt ones were left out"] if report.corrupt else []
    if details:
        console.print(f"  {'; '.join(details)}")


def _size(text: str) -> int:
    return _whole_number(text, 0, 8192)


def _quality(text: str) -> int:
    return _whole_number(text, 1, 100)


def _whole_number(text: str, least: int, most: int) -> int:
    number = int(text) if text.isdecimal() and len(text) < 6 else -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
    return number
