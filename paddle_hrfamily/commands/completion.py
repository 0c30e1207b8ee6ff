"""Completion of commands and options in a shell, by shtab.

hrfamily --print-completion bash > ~/.local/share/bash-completion/completions/hrfamily
hrfamily --print-completion zsh > ~/.zsh/completions/_hrfamily
"""

from __future__ import annotations

import argparse

from hrfamily_deploy.scripts.flags import requires
from paddle_hrfamily.commands import COMMANDS, module_of, summary
from paddle_hrfamily.errors import unknown

SHELLS = ("bash", "zsh", "tcsh")
# What is completed by the names of files, beside the options that argparse itself makes paths of.
_FILES = {
    "config", "folder", "image_path", "json", "model_path", "plugin", "resume_model", "root", "run", "save_dir",
    "source", "suite",
}  # fmt: skip


def script(shell: str, prog: str) -> str:
    """The script that makes a shell complete `prog`.

    Raises:
        UserError: shtab is not installed, or it is another shell.
    """
    with requires("completion", "shtab"):
        import shtab

    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    whole = argparse.ArgumentParser(prog=prog)
    whole.add_argument("--version", action="store_true", help="print versions")
    whole.add_argument("--print-completion", choices=SHELLS, help="print the script for a shell")
    commands = whole.add_subparsers(dest="command")
    for name in COMMANDS:
        parser = commands.add_parser(name, help=summary(name))
        module_of(name).add_arguments(parser)
        for action in parser._actions:
            if action.dest in _FILES or getattr(action.type, "__name__", "") == "Path":
                vars(action)["complete"] = shtab.FILE
    return shtab.complete(whole, shell)
