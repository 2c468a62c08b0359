"""The summary of the import tree."""

from coldspan.core.importtree import MODULES, summarise

TREE = [
    ["app", 0, 9_000_000, 1_000_000],
    ["boto3", 1, 6_000_000, 2_000_000],
    ["boto3.session", 2, 4_000_000, 4_000_000],
    ["requests", 1, 2_000_000, 2_000_000],
    ["_json", 0, 500_000, 500_000],
    ["space.leaf", 0, 0, 0],
]
ORIGINS = {
    "app": "/var/task/app.py",
    "boto3": "/var/runtime/boto3/__init__.py",
    "requests": "/opt/python/requests/__init__.py",
    "_json": "built-in",
    "space.leaf": "/opt/python/space/leaf.py",
}.get


def test_self_times_are_split_by_where_the_module_came_from():
    """Whose fault a slow start is: the runtime's, a layer's or yours."""
    summary = summarise(TREE, ORIGINS, "/var/task", ("/opt/",))
    assert summary["split"] == {"runtime": 6.5, "layer": 2.0, "application": 1.0}
    assert summary["import_ms"] == 9.5
    assert summary["modules"] == 6


def test_packages_are_ranked_by_their_own_time():
    """The first line is what to look at."""
    assert summarise(TREE, ORIGINS, "/var/task", ("/opt/",))["packages"][:2] == [
        ["boto3", "runtime", 6.0, 2],
        ["requests", "layer", 2.0, 1],
    ]


def test_the_tree_keeps_order_and_depth_and_is_bounded():
    """A flame graph can be drawn from it."""
    assert summarise(TREE, ORIGINS, "/var/task", ("/opt/",))["tree_us"][1] == ["boto3", 1, 6_000, 2_000]
    many = summarise([["m", 0, 1_000_000, 1_000_000]] * (MODULES + 5), ORIGINS, "", ())
    assert len(many["tree_us"]) == MODULES
    assert many["import_ms"] == MODULES + 5


def test_a_namespace_package_is_where_its_modules_are():
    """It has no file of its own."""
    packages = summarise(TREE, ORIGINS, "/var/task", ("/opt/",))["packages"]
    assert [where for name, where, _, _ in packages if name == "space"] == ["layer"]
