import pytest

from tests.tasks.preference.preference_user import Command


@pytest.fixture
def harness(tmp_path, monkeypatch, capsys):
    """The command in a folder of its own."""
    return Command(tmp_path, monkeypatch, capsys)
