"""Test a plugin without broker: in this very process, or through real pipes with the same test.

```python
def test_count(plugin_client):  # a fixture of pytest that comes with this package
    client = plugin_client("plugin.py", config={"limit": 5}, answers=["yes"])
    assert client.call("count", path=".") == {"count": 3}
    assert client.host.toasts == ["3 TODOs"]
```

Everything here waits for its answer, so a test needs neither `async` nor a plugin of pytest's for it.
"""

from __future__ import annotations

from broker_sdk.testing.client import Failed, Pending, Reply
from broker_sdk.testing.examples import arguments, example
from broker_sdk.testing.harness import Harness
from broker_sdk.testing.host import RecordingHost
from broker_sdk.testing.moved import MovedClock

__all__ = ["Failed", "Harness", "MovedClock", "Pending", "RecordingHost", "Reply", "arguments", "example"]
