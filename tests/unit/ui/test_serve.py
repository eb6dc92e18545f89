"""Starting the page: where it listens, and how the browser gets its address."""

from __future__ import annotations

import pytest

from perago.errors import RuntimeConfigError
from perago.ui.serve import HOST, leading_to, listening


def test_it_listens_on_loopback_only():
    with listening(0) as listener:
        assert listener.getsockname()[0] == HOST == "127.0.0.1"


def test_a_port_in_use_is_said():
    with listening(0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(RuntimeConfigError, match="Give another --port"), listening(port):
            pass


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_said(port):
    with pytest.raises(RuntimeConfigError), listening(port):
        pass


def test_the_token_is_in_a_file_of_this_user_alone():
    with leading_to('http://127.0.0.1:1/?token=a&"<b>') as path:
        assert (path.stat().st_mode & 0o077, path.parent.stat().st_mode & 0o077) == (0, 0)
        assert 'content="0;url=http://127.0.0.1:1/?token=a&amp;&quot;&lt;b&gt;"' in path.read_text()
    assert not path.exists()
