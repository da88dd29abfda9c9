"""One stdio process that runs all of a person's plugins, for every AI client and every editor.

The house, from the ground up; a room imports only from the rooms above it in this list:

    errors, model   the words: every way to fail, and the values every room speaks in
    wire/           bytes to JSON-RPC and back, MCP's two eras; never waits
    link            the moving half of a conversation: one Peer over one stream
    permissions/    what a plugin asks for, what its user granted, the one check between; pins; secrets
    confine/        starts and ends every process, with a keeper for each that outlives us if it must; holds a plugin
                    to what it was granted, by the kernel; egress/ is its way to the network
    core/           manifest and config, catalog of names, a plugin's life, the router every call passes
    clients/        the files of other AI clients: their servers taken over, broker registered in them
    runtimes/       what executes a plugin: a subprocess, a Lua script, a WASM module; the host they may call
    faces/          what the broker shows to whoever spawned it, MCP or LSP (the files lsp*) on stdio, and to its user,
                    a control socket
    app             the only file that knows every room
    authoring/      what the author of a plugin needs: templates, a session to try it in, checks, an archive to give
    cli/            the commands a person types

A call goes down once, faces -> router -> plugin -> runtime, and comes back as a plain `return`.
Read in this order: model, core/ports, core/router, core/generations, core/lane, runtimes/process, faces/mcp; then how a
plugin is held: permissions/gate, runtimes/confined, confine/start, confine/jail; then what it may ask of its host:
core/hosttable, core/hostapi, core/hostfront.
"""

__version__ = "0.1.0"
