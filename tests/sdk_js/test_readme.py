"""The README for authors is run: each block is the file that its first line names."""

from __future__ import annotations

from pathlib import Path

from tests.docs.running import Reader
from tests.npm_installed import installed
from tests.sdk_js.places import SDK

README = (SDK / "README.md").read_text("utf-8")
TESTED = """
```js
// more.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";
import { pluginClient } from "@plugin-broker/sdk/testing";
import more from "./more.mjs";

test("the plugin that no test of the page runs", async (t) => {
  const client = await pluginClient(more);
  t.after(() => client.close());
  const chart = await client.reply("chart");
  assert.equal(chart.content[0].mimeType, "image/png");
  assert.deepEqual(chart.progress.map((each) => each.progress), [0, 2]);
  assert.equal(await client.read("note://a"), "# a");
  const [message] = await client.prompt("review", { file: "a.py" });
  assert.equal(message.content.text, "Please review a.py.");
});
```

```console
$ node --test
...pass 5...
...fail 0...
```
"""


def test_every_piece_of_it_works(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    installed(reader.folder)
    reader.read(README + TESTED)
