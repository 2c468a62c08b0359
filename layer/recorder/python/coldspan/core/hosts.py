"""Names of hosts as tools: what differs from instance to instance becomes `*`, so that a name can be a dimension."""

_HEX = frozenset("0123456789abcdef")


def normalise(host: str) -> str:
    """Give the tool name of a host: lower case, without user, port and final dot; IP addresses are `*`.

    Labels that are digits, a UUID (with or without dashes) or an address (`ip-10-0-0-1`) become `*`; a UUID at the end
    of a label leaves what stands before it (`tenant-*`). An empty host is `unknown`.
    """
    name = host.rpartition("@")[2].strip().lower()
    if name.startswith("[") or name.count(":") > 1:
        return "*"
    name = name.partition(":")[0].rstrip(".")
    if not name:
        return "unknown"
    labels = [_label(label) for label in name.split(".")]
    return ".".join(labels) if labels.count("*") < len(labels) else "*"


def _label(label: str) -> str:
    if label.isdigit() or (len(label) == 32 and _HEX.issuperset(label)) or _is_address(label):
        return "*"
    return label[:-36] + "*" if _is_uuid(label[-36:]) else label


def _is_uuid(text: str) -> bool:
    return (
        len(text) == 36
        and text[8] == text[13] == text[18] == text[23] == "-"
        and _HEX.issuperset(text.replace("-", ""))
        and text.count("-") == 4
    )


def _is_address(label: str) -> bool:
    """Whether a label spells an IPv4 address, as EC2's own names do: `ip-10-0-0-1`, `ec2-54-1-2-3`."""
    parts = label.split("-")
    if not 4 <= len(parts) <= 5:
        return False
    return all(part.isdigit() and len(part) < 4 for part in parts[-4:])
