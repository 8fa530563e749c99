"""One grammar for both files: durations, sizes, addresses and suggestions mean the same in balance.yaml and in a settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balance.config import units
from balance.config.address import Address, Endpoint
from balance.config.kinds import Duration, KindError, Size
from balance.errors import BalanceError, SettingsError, few, nearest, suggestion
from balance.generate.settings import SETTINGS, load
from balance.lb.config import CONFIG
from balance.lb.config.reader import PREFIX as BALANCE
from tests.lb.configs import SMALL, problems, read

DURATIONS = {
    "30s": 30.0,
    "1h30m": 5400.0,
    "1.5m": 90.0,
    "1d": 86400.0,
    "1w": 604800.0,
    "1d12h": 129600.0,
    "90s": 90.0,
    "1m500ms": 60.5,
    "100ms": 0.1,
    "0.5s": 0.5,
    "1.15m": 69.0,
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_durations_mean_the_same_everywhere(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds
    assert read(f"{SMALL}timeouts: {{connect: {text}}}\n").timeouts.connect == seconds
    if seconds == int(seconds):
        assert load(None, [f"prometheus.scrape_interval={text}"]).prometheus.scrape_interval == seconds
    else:
        with pytest.raises(SettingsError, match=f"invalid duration '{text}' \\(must be a whole number of seconds\\)"):
            load(None, [f"prometheus.scrape_interval={text}"])


def refusals(text: str, folder: Path, key: str, setting: str) -> list[str]:
    """The message of each file for a value, without the file, the line and the key path."""
    file = folder / "settings.yaml"
    file.write_text(f"{setting.partition('.')[0]}: {{{setting.partition('.')[2]}: {text}}}\n")
    with pytest.raises(SettingsError) as caught:
        load(str(file), [])
    (section, _, name), (found,) = key.partition("."), problems(f"{SMALL}{key.partition('.')[0]}: {{{key.partition('.')[2]}: {text}}}\n")
    return [found.removeprefix(f"balance.yaml:4: {section}.{name}: "), str(caught.value).removeprefix(f"{file}:1: {setting}: ")]


@pytest.mark.parametrize("text", ["5", "soon", "-1s", "1h30", "30m1h", "1s1s", "1 s", "1.s", "٣s", "1M", "1.5", "''"])
def test_invalid_durations_have_the_same_message(text: str, tmp_path: Path) -> None:
    found = refusals(text, tmp_path, "timeouts.connect", "prometheus.scrape_interval")
    assert found == [f"invalid duration {text.strip(chr(39))!r} (write it like 100ms, 10s or 1h30m)"] * 2


@given(st.integers(0, 10**12))
def test_durations_round_trip(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["0.000001s", "1.234567s", "0.1ms"])
def test_durations_below_milliseconds_round_trip(text: str) -> None:
    seconds = units.parse_duration(text)
    assert seconds is not None
    assert units.parse_duration(units.format_duration(seconds)) == seconds


SIZES = {"0": 0, "512": 512, "512B": 512, "32KiB": 32768, "1MB": 1_000_000, "2GiB": 2 * 2**30}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size
    assert read(f"{SMALL}limits: {{max_request_size: {text}}}\n").limits.max_request_size == size


@pytest.mark.parametrize("text", ["1XB", "1.5MB", "-1", "1 KB", "", "kB", "1kb"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(KindError, match="invalid size"):
        Size().parse(text)


ADDRESSES = {
    "127.0.0.1:80": Address("127.0.0.1", 80),
    "smtp.example.com:587": Address("smtp.example.com", 587),
    "[::1]:25": Address("::1", 25),
}


@pytest.mark.parametrize(("text", "address"), ADDRESSES.items())
def test_addresses_mean_the_same_everywhere(text: str, address: Address) -> None:
    assert Endpoint().parse(text) == address
    assert read(f"listen: '{text}'\nbackends: [{{name: a, address: '{text}'}}]\n").backends[0].address == address
    email = load(None, [f"alertmanager.receivers.page.email={{smarthost: '{text}'}}"]).alertmanager.receivers["page"]["email"]
    assert email == {"smarthost": text}


@pytest.mark.parametrize("text", ["host", "host:0", "host:65536", "host:x", "http://a:80", "127.0.0.256:80", "[::g]:80", "a b:80", ":80"])
def test_invalid_addresses_are_rejected_everywhere(text: str) -> None:
    (found,) = problems(f"listen: :80\nbackends: [{{name: a, address: '{text}'}}]\n")
    with pytest.raises(SettingsError) as caught:
        load(None, [f"alertmanager.receivers.page.email={{smarthost: '{text}'}}"])
    told = found.removeprefix("balance.yaml:2: backends[0].address: ").partition(" (")[0]
    assert told.startswith("invalid ")
    assert str(caught.value).startswith(f"--set: alertmanager.receivers.page.email.smarthost: {told} (")


@pytest.mark.parametrize("text", ["unix:/run/x", ":8080", "127.0.0.1:0"])
def test_more_forms_of_addresses_to_listen_on(text: str) -> None:
    assert str(read(f"listen: '{text}'\nbackends: [{{name: a, address: 'a:1'}}]\n").listen[0]) == text
    with pytest.raises(KindError):
        Endpoint(unix=False).parse(text)


MISSPELT = {"limts": "limits", "time_out": "timeouts", "healthcheck": "health_check", "LOG": "log"}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_misspelt_keys_of_balance_yaml(name: str, meant: str) -> None:
    assert problems(f"{SMALL}{name}: {{}}\n") == [f"balance.yaml:4: {name}: unknown setting (did you mean {meant!r}?)"]


@pytest.mark.parametrize(("name", "meant"), {"treshold": "thresholds", "prometeus": "prometheus", "keep_label": "keep_labels", "JOB": "job"}.items())
def test_misspelt_keys_of_settings_yaml(name: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, [f"{name}=x"])
    assert str(caught.value) == f"--set: {name}: unknown setting (did you mean {meant!r}?)"


def test_at_most_five_choices_nearest_first() -> None:
    names = [f"series_{number}" for number in range(281)]
    assert suggestion("other", names).count(",") == 4
    assert suggestion("other", names).endswith(" and 276 more")
    assert suggestion("xyz", ["b", "a"]) == "choices: a, b"
    assert suggestion("xyz", []) == "choices: none"
    assert suggestion("lates", ["latest", "late", "early"]) == "did you mean 'latest'?"
    assert few(["a", "b"]) == "a, b"


def test_names_without_their_unit_are_near() -> None:
    assert nearest("http_wait", ["http_wait_seconds_sum", "https_weight"]) == "http_wait_seconds_sum"
    assert nearest("x", ["alpha"]) == ""


def test_environment_variables_work_the_same_way() -> None:
    assert read(SMALL, BALANCE_TIMEOUTS_CONNECT="1m30s", BALANCE_GEN_JOB="ignored").timeouts.connect == 90.0
    variables = {
        "BALANCE_GEN_PROMETHEUS_SCRAPE_INTERVAL": "1m30s",
        "BALANCE_GEN_THRESHOLDS_ERROR_RATIO": "0.02",
        "BALANCE_GEN_JOB": "edge",
        "BALANCE_GEN_PROMETHEUS_TARGETS": "10.0.0.1:9090",
        "BALANCE_LISTEN": "ignored",
    }
    found = load(None, ["job=core"], variables)
    assert (found.prometheus.scrape_interval, found.thresholds, found.job) == (90, {"error_ratio": 0.02}, "core")
    assert found.prometheus.targets == ("10.0.0.1:9090",)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BALANCE_GEN_RULR", "x", "BALANCE_GEN_RULR: unknown variable (did you mean BALANCE_GEN_RULER?)"),
        ("BALANCE_GEN_Q", "x", "BALANCE_GEN_Q: unknown variable (unset it: the prefix BALANCE_GEN_ is reserved)"),
        ("BALANCE_GEN_RATE_WINDOW", "5", "BALANCE_GEN_RATE_WINDOW: rate_window: invalid duration '5' (write it like 100ms, 10s or 1h30m)"),
        (
            "BALANCE_GEN_KUBERNETES_MOST_REPLICAS",
            "5",
            "BALANCE_GEN_KUBERNETES_MOST_REPLICAS: unknown variable (did you mean BALANCE_GEN_KUBERNETES_MAX_REPLICAS?)",
        ),
    ],
)
def test_invalid_environment_variables_are_rejected(name: str, value: str, expected: str) -> None:
    with pytest.raises(BalanceError) as caught:
        load(None, [], {name: value})
    assert str(caught.value) == expected


def test_prefixes_do_not_overlap() -> None:
    assert not {field.key.upper() for field in CONFIG.fields} & {"GEN"}
    assert BALANCE == "BALANCE_"
    assert SETTINGS.fields
    assert Duration().parse("1w") == 604800.0
