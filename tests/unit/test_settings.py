"""Settings: read once, and what cannot be understood is named and not obeyed."""

import pytest

from coldspan.boot.settings import Settings


def test_defaults_are_those_of_the_readme():
    """A function that sets nothing."""
    settings = Settings({})
    assert settings.enabled is True
    assert settings.async_handler is False
    assert settings.namespace == "coldspan"
    assert settings.flush_ns == 50_000_000
    assert settings.detail == 1.0
    assert settings.slow_ms == 1_000
    assert settings.payloads == "off"
    assert settings.xray == "auto"
    assert settings.emf is True
    assert settings.error_text is True
    assert settings.problems == []


@pytest.mark.parametrize("text", ["false", "0", "no", "OFF", " False "])
def test_every_way_to_say_no_switches_off(text):
    """People write it as they are used to."""
    assert Settings({"COLDSPAN_ENABLED": text}).enabled is False


@pytest.mark.parametrize(
    ("name", "text", "slot", "default"),
    [
        ("COLDSPAN_ENABLED", "maybe", "enabled", True),
        ("COLDSPAN_FLUSH_MS", "fast", "flush_ns", 50_000_000),
        ("COLDSPAN_FLUSH_MS", "-1", "flush_ns", 50_000_000),
        ("COLDSPAN_FLUSH_MS", "nan", "flush_ns", 50_000_000),
        ("COLDSPAN_DETAIL", "2", "detail", 1.0),
        ("COLDSPAN_DETAIL", "inf", "detail", 1.0),
        ("COLDSPAN_PAYLOADS", "some", "payloads", "off"),
        ("COLDSPAN_XRAY", "perhaps", "xray", "auto"),
    ],
)
def test_a_value_that_cannot_be_understood_keeps_the_default_and_is_named(name, text, slot, default):
    """A typing mistake must neither break the function nor pass unseen."""
    settings = Settings({name: text})
    assert getattr(settings, slot) == default
    assert settings.problems == [name]


def test_lists_are_split_at_commas_without_blanks():
    """COLDSPAN_TOOLS, COLDSPAN_PROPAGATE and COLDSPAN_MASK_KEYS are lists."""
    settings = Settings({"COLDSPAN_TOOLS": "dynamodb, sqs.SendMessage,,", "COLDSPAN_PROPAGATE": "*.internal"})
    assert settings.tools == ("dynamodb", "sqs.SendMessage")
    assert settings.propagate == ("*.internal",)
    assert settings.mask_keys == ()


def test_sam_local_has_no_daemon():
    """SAM passes a variable of the host on, and nothing listens there."""
    assert Settings({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000", "AWS_SAM_LOCAL": "true"}).xray_address == ""


@pytest.mark.parametrize(("text", "local"), [("", "tree"), ("emf", "emf"), (" OFF ", "off"), ("yes", "tree")])
def test_sam_local_shows_trees_unless_told_otherwise(text, local):
    """A person reads them, and no CloudWatch."""
    settings = Settings({"AWS_SAM_LOCAL": "true", "COLDSPAN_LOCAL": text, "COLDSPAN_DETAIL": "0"})
    assert settings.local == local
    assert settings.detail == (1 if local == "tree" else 0)
    assert settings.problems == ([] if text != "yes" else ["COLDSPAN_LOCAL"])


@pytest.mark.parametrize("text", ["tree", "off", "emf", ""])
def test_a_deployed_function_writes_its_lines_whatever_is_set_for_sam_local(text):
    """Templates are deployed as they were tried out; a function without metrics would be found out too late."""
    assert Settings({"COLDSPAN_LOCAL": text}).local == "emf"
