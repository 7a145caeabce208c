"""Lists the recipes, one per line. Folders in $SCALEGAN_RECIPES are searched first."""

from scalegan.config.catalogue import available
from scalegan.errors import UsageError


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] not in ("-h", "--help"):
        raise UsageError(f"`scalegan recipes` takes no arguments, but was given '{arguments[0]}'; for a recipe's "
                         "keys: `scalegan train recipe=NAME --print-config`")
    if arguments:
        print(f"usage: scalegan recipes\n\n{__doc__}\n\nexamples:\n  scalegan recipes\n"
              "  SCALEGAN_RECIPES=$HOME/recipes scalegan recipes")
        return 0
    own = {"auto": "Chosen by rules for images of your own: data.path=FOLDER_OR_ZIP"}
    for name, about in (own | available()).items():
        print(f"{name:<20} {about}")
    return 0
