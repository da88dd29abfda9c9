"""The network of one confined plugin: what it may reach, and nothing else. Imported only where one has a `net` grant.

    plugin ── connect ──> a socket of its own namespace, or the broker's own ──> egress ── dial ──> the host

`egress.Egress` puts the rest together. A name the plugin may know gets a made-up address (`dns`, `names`); a
connection to that arrives here (`transparent`), or one that names its host itself (`http_proxy`, `socks`); the list
decides (`allow`), the name is looked up once (`lookup`), only fit addresses are left (`addresses`) and dialled
(`dial`), and bytes are copied (`ends`). Without namespaces the broker makes the calls for the plugin (`stand_in`).
"""
