"""Walks botocore's service models for the members of an answer that may tell of a failure."""

import functools
import re

from botocore.session import Session

SUSPECT = re.compile(r"fail|error|unprocess|unsuccess|reject|invalid", re.IGNORECASE)
READS = ("Get", "List", "Describe", "Search", "Validate", "Head", "Lookup", "View")


@functools.cache
def models():
    """Every service model of the installed botocore, as {boto3's client name: the JSON of the model}."""
    loader = Session().get_component("data_loader")
    names = loader.list_available_services("service-2")
    return {name: loader.load_service_model(name, "service-2") for name in names}


def output_members(model, operation):
    """The shapes of an operation's output members by name; empty when it has none."""
    return shape_members(model, model["operations"][operation].get("output"))


def input_members(model, operation):
    """The shapes of an operation's parameters by name."""
    return shape_members(model, model["operations"][operation].get("input"))


def shape_members(model, reference):
    """{member: its shape} of a structure; empty for anything else."""
    if reference is None:
        return {}
    shape = model["shapes"][reference["shape"]]
    return {name: model["shapes"][member["shape"]] for name, member in shape.get("members", {}).items()}


@functools.cache
def candidates():
    """Where a 200 may hide a failure, as two sets of (service, operation, member).

    The first: output members whose name is suspect. The second: lists with an innocent name whose elements have a
    member with a suspect one. Operations that only read are left out, by the start of their names.
    """
    members, lists = set(), set()
    for service, model in models().items():
        for operation in model["operations"]:
            if operation.startswith(READS):
                continue
            for name, shape in output_members(model, operation).items():
                if SUSPECT.search(name):
                    members.add((service, operation, name))
                elif shape["type"] == "list" and any(map(SUSPECT.search, shape_members(model, shape["member"]))):
                    lists.add((service, operation, name))
    return members, lists
