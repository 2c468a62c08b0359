"""SnapStart: what must be new after a restore, because one snapshot becomes many environments."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.boot.seam import Seam


def install(seam: "Seam") -> None:
    """Register our hooks first: so they run last before the snapshot and first after the restore."""
    import snapshot_restore_py

    scope = seam.scope

    def before_snapshot() -> None:
        seam.end_init()

    def after_restore() -> None:
        began = scope.clock()
        scope.reseed()
        seam.buffer.drops.clear()
        seam.stdout = seam.stdout_now()
        scope.outside.start_ns = began
        scope.outside.epoch_ns = scope.wall()
        seam.restore_ns = scope.clock() - began

    snapshot_restore_py.register_before_snapshot(seam.buffer.shielded(before_snapshot))
    snapshot_restore_py.register_after_restore(seam.buffer.shielded(after_restore))
