---@meta
-- The table `broker` as plugins in Lua 5.4 see it, for the language server of Lua (LuaLS):
--   { "workspace.library": ["PATH OF THIS FILE'S FOLDER"], "runtime.version": "Lua 5.4" }
-- There is no `io`, `debug`, `load`, `dofile`, `collectgarbage` and `coroutine.close`; `os` has time, clock and date.

---@class broker
broker = {}

---A word of JSON Schema or `any`; `[]` after it is an array of it, `?` says that it may be left out. A table has the
---type first and then members of JSON Schema: `{ "integer", default = 100 }`.
---@alias broker.Type string|table

---@class broker.Tool
---@field name string
---@field title? string
---@field description? string
---@field input? table<string, broker.Type> # by the names of its arguments, or a JSON Schema with type = "object"
---@field output? table<string, broker.Type>
---@field annotations? table<string, any>
---@field read_only? boolean
---@field run fun(arguments: table): any # a text, any other value, or a whole result { content = {...} }

---@class broker.Prompt
---@field name string
---@field title? string
---@field description? string
---@field arguments? table<string, broker.Type>
---@field run fun(arguments: table): any # a text, or { messages = {...} }
---@field complete? broker.Complete

---@class broker.Resource
---@field uri? string # of one resource
---@field template? string # of a family of them, as `note://{book}/{+page}`; in the place of `uri`
---@field name? string
---@field title? string
---@field description? string
---@field mime? string
---@field read fun(asked: table): any # { uri = ... } with what is in it by the template; a text, or { contents = {...} }
---@field complete? broker.Complete # of a template

---Values that an argument may have, of which the person has typed `value`; `given` are the other arguments.
---@alias broker.Complete fun(argument: string, value: string, given: table<string, string>): string[]?

---@class broker.Command
---@field name string
---@field title? string
---@field description? string
---@field run fun(arguments: any[]): any

---@class broker.Event
---@field type "pre_request"|"post_response"|"on_connect"|"on_close"
---@field priority integer
---@field method string
---@field tool string
---@field plugin string
---@field client string
---@field arguments? table|string
---@field truncated boolean
---@field meta table<string, any>

---@class broker.Answer
---@field allow? boolean # true if unsaid
---@field modified? boolean # `arguments` take the place of those of the call
---@field arguments? table<string, any>
---@field meta? table<string, any>
---@field status? any
---@field reason? string

---Offers a tool.
---@param tool broker.Tool
function broker.tool(tool) end

---Offers a prompt.
---@param prompt broker.Prompt
function broker.prompt(prompt) end

---Offers a resource, or a family of them.
---@param resource broker.Resource
function broker.resource(resource) end

---Offers a command to the person.
---@param command broker.Command
function broker.command(command) end

---Has a say in what others do; which events are asked is said by `[[hooks]]` in plugin.toml.
---@param event "pre_request"|"post_response"|"on_connect"|"on_close"
---@param run fun(event: broker.Event): broker.Answer?
function broker.hook(event, run) end

---Hears of what happens in the editor, as long as the plugin runs.
---@param event "document.opened"|"document.saved"|"document.closed"|"workspace.changed"|"config.changed"|"progress.cancelled"|string
---@param run fun(params: table)
function broker.on(event, run) end

---@param message any
---@param level? "debug"|"info"|"warn"|"error"
function broker.log(message, level) end

---@param title string
---@param message? string
---@param kind? "info"|"warn"|"error"
---@return { shown: boolean }
function broker.toast(title, message, kind) end

---@param key string
---@param value string # empty takes it away
---@return { shown: boolean }
function broker.status(key, value) end

---@param done number
---@param total? number
---@param message? string
---@return { shown: boolean }
function broker.progress(done, total, message) end

---@param command string[]
---@param more? { input?: string, timeout?: number }
---@return { code: integer, stdout: string, stderr: string }
function broker.exec(command, more) end

---@param message string
---@param more? { schema?: table, choices?: string[] }
---@return { action: "accept"|"decline"|"cancel", content?: table }
function broker.ask(message, more) end

---The person in front of an editor is asked; elsewhere it is a form of the client, or the error `not-answered`.
---@param message string
---@param items string[]
---@return string? # nil: closed without an answer
function broker.pick(message, items) end

---@param message string
---@param more? { default?: string, secret?: boolean }
---@return string? # nil: closed without an answer
function broker.input(message, more) end

---@param message string
---@param more? { yes?: string, no?: string }
---@return boolean
function broker.confirm(message, more) end

---Opens a file in the editor, or a page of https in the browser.
---@param uri string # `file:`, `https:`, or a path as `broker.fs.read` takes it
---@param more? { range?: broker.Range, focus?: boolean }
---@return boolean # whether it was shown
function broker.show(uri, more) end

---@class broker.Position
---@field line integer # from 0
---@field character integer # from 0, in UTF-16 code units

---@class broker.Range
---@field start broker.Position
---@field end broker.Position

---@class broker.Edit
---@field range broker.Range
---@field newText string

broker.work = {}

---Shows that the plugin works at something beside any call.
---@param id string # its own name for it
---@param title string
---@param more? { message?: string, cancellable?: boolean }
---@return boolean # whether somebody sees it
function broker.work.begin(id, title, more) end

---@param id string
---@param more? { message?: string, percentage?: number }
---@return boolean # whether its person wants it to end
function broker.work.report(id, more) end

---@param id string
---@param message? string
---@return boolean
function broker.work.finish(id, message) end

broker.editor = {}

---@return { uri: string, languageId?: string, version?: integer, selection?: broker.Range }? # nil: none is open
function broker.editor.active() end

---@param uri string # of an open document
---@return { uri: string, text: string, languageId?: string, version?: integer }
function broker.editor.read(uri) end

---@param changes table<string, broker.Edit[]> # by the URI of an open document, or of a file the plugin may write to
---@param label? string
---@return boolean # whether they were made
function broker.editor.edit(changes, label) end

---Marks places in a document, in the place of what was marked before; {} clears.
---@param uri string
---@param all { range: broker.Range, message: string, severity?: string, code?: string, fixes?: table[] }[]
---@return boolean # whether somebody sees them
function broker.editor.diagnostics(uri, all) end

broker.secrets = {}

---@param name string
---@return string? # nil: there is none
function broker.secrets.get(name) end

---@param name string
---@param value string
function broker.secrets.set(name, value) end

---@param name string
---@return boolean # whether there was one
function broker.secrets.delete(name) end

broker.config = {}

---Changes an option in its user's file; nil takes the change back.
---@param key string
---@param value any
function broker.config.set(key, value) end

---An option of the plugin's own configuration; without a key all of them.
---@param key? string
---@return any
function broker.config.get(key) end

broker.state = {}

---@param key string
---@return any
function broker.state.get(key) end

---Keeps a value, also after the broker ends; nil takes it away.
---@param key string
---@param value any
function broker.state.set(key, value) end

broker.fs = {}

---@param path string # absolute, or with ${workspace}, ${data}, ${plugin} or ${home} in front
---@param more? { offset?: integer, encoding?: "utf-8"|"base64" }
---@return { text?: string, base64?: string, size: integer }
function broker.fs.read(path, more) end

---@param path string
---@param text string
---@param more? { base64?: string, append?: boolean }
---@return { size: integer }
function broker.fs.write(path, text, more) end

broker.http = {}

---@param url string
---@param more? { method?: string, headers?: table<string, string>, body?: string, timeout?: number, encoding?: string }
---@return { status: integer, headers: table<string, string>, body?: string, base64?: string }
function broker.http.fetch(url, more) end

broker.json = {}

---A null in JSON; in an object it is a key that is not there.
broker.json.null = {}

---@param value any
---@return string
function broker.json.encode(value) end

---@param text string
---@return any
function broker.json.decode(text) end

---Makes an empty table an array.
---@param value any[]
---@return any[]
function broker.json.array(value) end

-- What follows is written by `python -m broker.runtimes.lua_meta`.

---@class broker.op.log
---@field message string
---@field level? "debug"|"error"|"info"|"warn" # info if unsaid

---@class broker.op.toast
---@field title string
---@field message? string
---@field kind? "error"|"info"|"warn" # info if unsaid

---@class broker.op.register_command
---@field name string
---@field title? string
---@field description? string
---@field handler? string

---@class broker.op.set_status
---@field key string
---@field value string

---@class broker.op.progress
---@field progress number
---@field total? number|nil
---@field message? string|nil

---@class broker.op.config.get
---@field key? string|nil

---@class broker.op.config.set
---@field key string
---@field value string|integer|number|boolean|any[]|nil

---@class broker.op.secrets.get
---@field name string

---@class broker.op.secrets.set
---@field name string
---@field value string

---@class broker.op.secrets.delete
---@field name string

---@class broker.op.state.get
---@field key string

---@class broker.op.state.set
---@field key string
---@field value any

---@class broker.op.fs.read
---@field path string
---@field offset? integer # 0 if unsaid
---@field encoding? "base64"|"utf-8" # utf-8 if unsaid

---@class broker.op.fs.write
---@field path string
---@field text? string
---@field base64? string
---@field append? boolean # false if unsaid

---@class broker.op.http.fetch
---@field url string
---@field method? "DELETE"|"GET"|"HEAD"|"PATCH"|"POST"|"PUT" # GET if unsaid
---@field headers? table<string, string>
---@field body? string
---@field timeout? number # 20.0 if unsaid
---@field encoding? "base64"|"utf-8" # utf-8 if unsaid

---@class broker.op.exec
---@field command string[]
---@field input? string
---@field timeout? number # 10.0 if unsaid

---@class broker.op.call
---@field plugin string
---@field tool string
---@field arguments? table<string, any>

---@class broker.op.ask
---@field message string
---@field schema? table<string, any>|nil
---@field choices? string[]

---@class broker.op.pick
---@field message string
---@field items string[]

---@class broker.op.input
---@field message string
---@field default? string
---@field secret? boolean # false if unsaid

---@class broker.op.confirm
---@field message string
---@field yes? string # Yes if unsaid
---@field no? string # No if unsaid

---@class broker.op.show
---@field uri string
---@field range? { start: { line: integer, character: integer }, end: { line: integer, character: integer } }|nil
---@field focus? boolean # true if unsaid

---@class broker.op.progress.begin
---@field id string
---@field title string
---@field message? string
---@field cancellable? boolean # false if unsaid

---@class broker.op.progress.report
---@field id string
---@field message? string|nil
---@field percentage? number|nil

---@class broker.op.progress.end
---@field id string
---@field message? string

---@class broker.op.editor.active

---@class broker.op.editor.read
---@field uri string

---@class broker.op.editor.edit
---@field changes table<string, { range: { start: { line: integer, character: integer }, end: { line: integer, character: integer } }, newText: string }[]>
---@field label? string

---@class broker.op.editor.diagnostics
---@field uri string
---@field diagnostics { range: { start: { line: integer, character: integer }, end: { line: integer, character: integer } }, message: string, severity?: "error"|"hint"|"info"|"warning", code?: string, fixes?: { title: string, edits?: { range: { start: { line: integer, character: integer }, end: { line: integer, character: integer } }, newText: string }[], command?: string }[] }[]

---@class broker.op.events.subscribe
---@field names "config.changed"|"document.closed"|"document.opened"|"document.saved"|"progress.cancelled"|"workspace.changed"[]

---Asks the host to do something; throws when it refuses or fails. By operation:
---
---`log`: Writes a line to the plugin's log, and sends it to the client.
---`toast`: Shows a short message to the person. Needs `ui:toast`.
---`register_command`: Offers a command to the person; the plugin is asked `command/run` when it is run. Needs `ui:command`.
---`set_status`: Shows a short text beside the plugin's name, as long as the plugin runs. Needs `ui:status`.
---`progress`: Tells the caller how far its call is.
---`config.get`: An option of the plugin's own configuration, or all of them.
---`config.set`: Changes an option of the plugin's own configuration, in its user's file; null takes the change back. Needs `ui:config`.
---`secrets.get`: A secret from the keyring of the system, or null. Needs `secrets:NAME`.
---`secrets.set`: Keeps a secret in the keyring of the system. Needs `secrets:NAME`.
---`secrets.delete`: Forgets a secret. Needs `secrets:NAME`.
---`state.get`: What the plugin kept under a key, or null.
---`state.set`: Keeps a value under a key, also after the broker ends; null takes it away.
---`fs.read`: A piece of a file, of 512 KiB at most, and how long the file is. Needs `read:PATH`.
---`fs.write`: Writes or appends to a file, which is made if need be. Needs `write:PATH`.
---`http.fetch`: Makes one request. Redirects are not followed, and an answer may have 512 KiB. Needs `net:HOST:PORT`.
---`exec`: Runs a program, held to what the plugin may do, and returns what it wrote. Needs `run:PROGRAM`.
---`call`: Calls a tool of another plugin, for whoever called this one; its result is as MCP has it. Needs `call:PLUGIN`.
---`ask`: Asks the person who made the call. Needs `ui:ask`.
---`pick`: Has the person choose one of some texts. Needs `ui:ask`.
---`input`: Has the person type a line. Needs `ui:ask`.
---`confirm`: Asks the person yes or no. Needs `ui:ask`.
---`show`: Opens a file in the editor, perhaps at a place in it, or a page of https in the browser. Needs `ui:show`.
---`progress.begin`: Shows that the plugin works at something beside any call; the event `progress.cancelled` may follow. Needs `ui:status`.
---`progress.report`: Says how far that work is, and hears whether its person wants it to end. Needs `ui:status`.
---`progress.end`: Says that it is over. What a plugin leaves open ends with it. Needs `ui:status`.
---`editor.active`: The document that the person works on, or null. Needs `ui:documents`.
---`editor.read`: The text of an open document, as the person sees it. Needs `ui:documents`.
---`editor.edit`: Edits documents in the editor: open ones, or files that the plugin may write to. Needs `ui:edit`.
---`editor.diagnostics`: Marks places in a document, perhaps with fixes to choose from; fixes that edit need ui:edit too. Needs `ui:diagnostics`.
---`events.subscribe`: Has the plugin told of these, as long as it runs; config.changed and progress.cancelled need nothing. Needs `ui:documents`.
---@overload fun(op: "log", params: broker.op.log): nil
---@overload fun(op: "toast", params: broker.op.toast): { shown: boolean }
---@overload fun(op: "register_command", params: broker.op.register_command): { shown: boolean }
---@overload fun(op: "set_status", params: broker.op.set_status): { shown: boolean }
---@overload fun(op: "progress", params: broker.op.progress): { shown: boolean }
---@overload fun(op: "config.get", params: broker.op.config.get): any
---@overload fun(op: "config.set", params: broker.op.config.set): nil
---@overload fun(op: "secrets.get", params: broker.op.secrets.get): { value: string|nil }
---@overload fun(op: "secrets.set", params: broker.op.secrets.set): nil
---@overload fun(op: "secrets.delete", params: broker.op.secrets.delete): { deleted: boolean }
---@overload fun(op: "state.get", params: broker.op.state.get): any
---@overload fun(op: "state.set", params: broker.op.state.set): nil
---@overload fun(op: "fs.read", params: broker.op.fs.read): { size: integer, text?: string, base64?: string }
---@overload fun(op: "fs.write", params: broker.op.fs.write): { size: integer }
---@overload fun(op: "http.fetch", params: broker.op.http.fetch): { status: integer, headers: table<string, string>, body?: string, base64?: string }
---@overload fun(op: "exec", params: broker.op.exec): { code: integer, stdout: string, stderr: string }
---@overload fun(op: "call", params: broker.op.call): table<string, any>
---@overload fun(op: "ask", params: broker.op.ask): { action: "accept"|"cancel"|"decline", content?: table<string, any>|nil }
---@overload fun(op: "pick", params: broker.op.pick): { value: string|nil }
---@overload fun(op: "input", params: broker.op.input): { value: string|nil }
---@overload fun(op: "confirm", params: broker.op.confirm): { confirmed: boolean }
---@overload fun(op: "show", params: broker.op.show): { shown: boolean }
---@overload fun(op: "progress.begin", params: broker.op.progress.begin): { shown: boolean }
---@overload fun(op: "progress.report", params: broker.op.progress.report): { shown: boolean, cancelled: boolean }
---@overload fun(op: "progress.end", params: broker.op.progress.end): { shown: boolean }
---@overload fun(op: "editor.active", params: broker.op.editor.active): { uri: string, languageId?: string, version?: integer|nil, selection?: { start: { line: integer, character: integer }, end: { line: integer, character: integer } }|nil }|nil
---@overload fun(op: "editor.read", params: broker.op.editor.read): { uri: string, text: string, languageId?: string, version?: integer|nil }
---@overload fun(op: "editor.edit", params: broker.op.editor.edit): { applied: boolean, reason?: string }
---@overload fun(op: "editor.diagnostics", params: broker.op.editor.diagnostics): { shown: boolean }
---@overload fun(op: "events.subscribe", params: broker.op.events.subscribe): { names: string[] }
---@param op string
---@param params table?
---@return any
function broker.call(op, params) end
