"""How large a function would be unzipped: its code and all of its layers."""

from typing import TYPE_CHECKING

from coldspan_console.account import layers
from coldspan_console.account.layers import LayerVersion, Size, layer_of
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from coldspan_console.account.functions import Function
    from coldspan_console.account.session import Account

# Unzipped by zipped, more than anything but logs and zeros reaches: below the limit even so, nothing is asked of S3.
HIGHEST_RATIO = 8


class Sizes:
    """Sizes by ARN, asked once: hundreds of functions share their layers."""

    def __init__(self, account: "Account") -> None:
        self.account = account
        self._known: dict[str, Size] = {}

    def of(self, function: "Function", ours: "list[LayerVersion]") -> "list[Size]":
        """The sizes of the code, of the layers it has and of ours. Exact where a zip's directory could be read.

        Where the zipped sizes say that it is far from the limit, they are estimated, which is then good enough.
        """
        replaced = {layer_of(version.arn) for version in ours}
        others = [arn for arn in function.layers if layer_of(arn) not in replaced]
        sizes = {str(each["Arn"]): int(each.get("CodeSize") or 0) for each in function.config.get("Layers") or ()}
        code = int(function.config.get("CodeSize") or 0)
        zipped = code + sum(sizes[arn] for arn in others) + sum(version.zipped for version in ours)
        near = zipped * HIGHEST_RATIO > layers.MOST_BYTES
        found = [layers.size(function.location if near else "", code)]
        found += [self._sized(version.arn, version.zipped, version.location if near else "") for version in ours]
        for arn in others:
            location = self._location(arn) if near and arn not in self._known else ""
            found += [self._sized(arn, sizes[arn], location)]
        return found

    def _sized(self, arn: str, zipped: int, location: str) -> Size:
        if arn in self._known:
            return self._known[arn]
        size = layers.size(location, zipped)
        if size.exact:
            self._known[arn] = size
        return size

    def _location(self, arn: str) -> str:
        try:
            return layers.get(self.account, arn).location
        except ConsoleError:  # another account's layer need not be readable
            return ""
