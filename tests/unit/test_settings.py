"""Settings: defaults, environment, redaction, and the combination that is refused."""

import pytest
from pydantic import ValidationError

from central_hub.kernel.errors import HubError
from central_hub.settings import Settings, is_loopback


def test_every_option_can_be_given_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PORT", "7123")
    monkeypatch.setenv("HUB_LANE", "asgi")
    settings = Settings()
    assert settings.port == 7123
    assert settings.lane == "asgi"


def test_a_secret_is_masked_where_settings_are_shown() -> None:
    settings = Settings(bootstrap_token="chb_very-secret-very-secret-very-secret")  # type: ignore[arg-type]
    assert "very-secret" not in str(settings.redacted())
    assert "very-secret" not in repr(settings)


@pytest.mark.parametrize("token", ["", "chb_", "chb_tooshort", "secret-secret-secret-secret-secret-secret"])
def test_a_bootstrap_token_that_is_weak_or_would_never_work_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="begins with chb_ and has 36 characters") as refused:
        Settings(bootstrap_token=token)  # type: ignore[arg-type]
    if token:
        assert f"'{token}'" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_open_mode_is_refused_where_others_can_reach_it(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    settings = Settings(host=host, open=True)
    if loopback:
        settings.check()
    else:
        with pytest.raises(HubError) as refused:
            settings.check()
        assert "--host 127.0.0.1" in refused.value.next_step
