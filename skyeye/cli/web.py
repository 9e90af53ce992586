"""``skyeye web``: the page."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.checkpoints import CHECKPOINT, checkpoint_arguments, opened_as
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path
from skyeye.serve.opening import to_open


def web_command(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``web CHECKPOINT [CHECKPOINT2]``."""
    web = command(commands, "web", _web, "a page to ask a model on, or two side by side")
    checkpoint_arguments(web)
    web.add_argument("second", type=any_path, nargs="?", metavar="CHECKPOINT2", help=f"beside the first: {CHECKPOINT}")
    web.add_argument("--base2", type=any_path, metavar="RECIPE", help="as --base, of CHECKPOINT2")
    web.add_argument("--weights2", type=any_path, metavar="FOLDER", help="as --weights, of CHECKPOINT2")
    web.add_argument("--host", default="localhost", help="address to listen on (default localhost: this machine alone)")
    web.add_argument("--port", type=_port, default=7860, metavar="N", help="port (default 7860; 0: a free one)")
    web.add_argument("--auth", action="append", default=[], metavar="USER:PASSWORD", help="who may ask; several times")
    web.add_argument("--examples", type=any_path, metavar="FOLDER", help="pictures to choose from (default: synthetic)")
    web.add_argument("--max-upload", type=positive, default=64, metavar="MIB", help="largest file (default 64)")
    web.add_argument(
        "--max-pixels", type=positive, default=100, metavar="MILLIONS", help="largest picture (default 100)"
    )
    web.add_argument("--max-images", type=positive, default=8, metavar="N", help="pictures at once (default 8)")
    web.add_argument(
        "--max-new-tokens", type=positive, default=1024, metavar="N", help="longest answer that may be chosen (1024)"
    )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port")
    return number


def _web(options: argparse.Namespace) -> int:
    from skyeye.serve.web.run import Settings, parse_auth, serve_web
    from skyeye.serve.web.uploads import Limits

    settings = Settings(
        options.host,
        options.port,
        parse_auth(options.auth),
        Limits(options.max_upload * 2**20, options.max_pixels * 10**6, options.max_images, options.max_new_tokens),
        options.examples,
    )
    models = [opened_as(options)]
    if options.second is not None:
        how = {"dtype": options.dtype, "device": options.device, "resize": options.resize}
        how |= {"keep_adapters": options.keep_adapters}
        models.append(to_open(options.second, weights=options.weights2, base=options.base2, **how))
    hide_loading_bars()
    serve_web(models, settings)
    return 0
