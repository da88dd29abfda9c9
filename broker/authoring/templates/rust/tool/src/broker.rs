//! What a plugin of broker has to have, and its host: `TOOLS` of lib.rs are listed and called from here.
//! Broker asks in JSON and is answered in JSON; an instance that was asked is thrown away after its answer.
#![allow(dead_code)]

use std::fmt::{self, Write};
use std::ops::Index;

/// A tool; `input` is the JSON Schema of its arguments, which broker has checked before `run` sees them.
/// `run` is given the arguments and the plugin's configuration; its error is shown to the model.
pub struct Tool {
    pub name: &'static str,
    pub description: &'static str,
    pub input: &'static str,
    pub read_only: bool,
    pub run: fn(&Value, &Value) -> Result<Value, String>,
}

pub const ERROR: i32 = 0;
pub const WARNING: i32 = 1;
pub const INFO: i32 = 2;
pub const DEBUG: i32 = 3;

/// One line for `broker log`.
pub fn log(level: i32, text: &str) {
    unsafe { host::log(level, text.as_ptr(), text.len()) }
}

/// One operation of the host, such as `state.get`; what it may do stands under `[permissions]` in plugin.toml.
pub fn call(op: &str, params: Value) -> Result<Value, String> {
    let request = object([("op", op.into()), ("params", params)]).to_string();
    let answer = parse(unsafe { taken(host::call(request.as_ptr(), request.len())) });
    match &answer["error"] {
        Value::Null => Ok(answer["result"].clone()),
        error => Err(error["message"].text().to_string()),
    }
}

/// Any value of JSON. `value["key"]` is `Null` where there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The text, or nothing of one.
    pub fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The number, or none.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        match self {
            Value::Object(members) => members.iter().find(|(each, _)| each == key).map_or(&Value::Null, |(_, value)| value),
            _ => &Value::Null,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_string())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Value {
        Value::List(value)
    }
}

/// An object with these members.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

impl fmt::Display for Value {
    /// As JSON.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Null => out.write_str("null"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Number(value) if value.is_finite() => write!(out, "{value}"),
            Value::Number(_) => out.write_str("null"),
            Value::Text(text) => quoted(text, out),
            Value::List(items) => {
                out.write_char('[')?;
                for (nth, item) in items.iter().enumerate() {
                    write!(out, "{}{item}", if nth > 0 { "," } else { "" })?;
                }
                out.write_char(']')
            }
            Value::Object(members) => {
                out.write_char('{')?;
                for (nth, (key, value)) in members.iter().enumerate() {
                    out.write_str(if nth > 0 { "," } else { "" })?;
                    quoted(key, out)?;
                    write!(out, ":{value}")?;
                }
                out.write_char('}')
            }
        }
    }
}

fn quoted(text: &str, out: &mut fmt::Formatter) -> fmt::Result {
    out.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(out, "\\{letter}")?,
            letter if letter < ' ' => write!(out, "\\u{:04x}", letter as u32)?,
            letter => out.write_char(letter)?,
        }
    }
    out.write_char('"')
}

/// Reads JSON as broker writes it, which is valid.
pub fn parse(json: Vec<u8>) -> Value {
    Reader { json: &json, at: 0 }.value()
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Value {
        match self.next() {
            b'n' => self.word(3, Value::Null),
            b't' => self.word(3, Value::Bool(true)),
            b'f' => self.word(4, Value::Bool(false)),
            b'"' => Value::Text(self.text()),
            b'[' => {
                let mut items = Vec::new();
                while !self.ends(b']') {
                    items.push(self.value());
                }
                Value::List(items)
            }
            b'{' => {
                let mut members = Vec::new();
                while !self.ends(b'}') {
                    self.next();
                    let key = self.text();
                    self.next();
                    members.push((key, self.value()));
                }
                Value::Object(members)
            }
            _ => self.number(),
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> u8 {
        while matches!(self.json[self.at], b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.at += 1;
        self.json[self.at - 1]
    }

    fn word(&mut self, rest: usize, value: Value) -> Value {
        self.at += rest;
        value
    }

    /// Whether a list or an object is over; passes the comma if it is not.
    fn ends(&mut self, end: u8) -> bool {
        let found = self.next();
        if found != end && found != b',' {
            self.at -= 1;
        }
        found == end
    }

    fn number(&mut self) -> Value {
        let start = self.at - 1;
        while self.at < self.json.len() && !matches!(self.json[self.at], b',' | b'}' | b']' | b' ' | b'\n') {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.json[start..self.at]).unwrap();
        Value::Number(text.parse().unwrap())
    }

    fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            match self.json[self.at] {
                b'"' => break,
                b'\\' => self.escape(&mut bytes),
                byte => bytes.push(byte),
            }
            self.at += 1;
        }
        self.at += 1;
        String::from_utf8(bytes).unwrap()
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) {
        self.at += 1;
        let letter = match self.json[self.at] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode(),
            other => other as char,
        };
        bytes.extend(letter.to_string().bytes());
    }

    fn unicode(&mut self) -> char {
        let mut units = vec![self.unit()];
        if (0xd800..0xdc00).contains(&units[0]) && self.json[self.at + 1..].starts_with(b"\\u") {
            self.at += 2;
            units.push(self.unit());
        }
        char::decode_utf16(units).next().unwrap().unwrap_or('\u{fffd}')
    }

    fn unit(&mut self) -> u16 {
        let digits = std::str::from_utf8(&self.json[self.at + 1..self.at + 5]).unwrap();
        self.at += 4;
        u16::from_str_radix(digits, 16).unwrap()
    }
}

// What broker calls

fn answered(request: &Value) -> Result<String, (&'static str, String)> {
    let params = &request["params"];
    match request["op"].text() {
        "tools/list" => {
            let listed: Vec<Value> = crate::TOOLS.iter().map(shown).collect();
            Ok(object([("tools", listed.into())]).to_string())
        }
        "tools/call" => match crate::TOOLS.iter().find(|tool| tool.name == params["name"].text()) {
            Some(tool) => (tool.run)(&params["arguments"], &request["config"])
                .map(|value| value.to_string())
                .map_err(|error| ("failed", error)),
            None => Err(("failed", "There is no such tool.".to_string())),
        },
        op => Err(("unknown-op", format!("There is no {op}."))),
    }
}

fn shown(tool: &Tool) -> Value {
    object([
        ("name", tool.name.into()),
        ("description", tool.description.into()),
        ("inputSchema", parse(tool.input.into())),
        ("annotations", object([("readOnlyHint", tool.read_only.into())])),
    ])
}

#[no_mangle]
pub extern "C" fn alloc(size: usize) -> *mut u8 {
    Box::into_raw(vec![0; size].into_boxed_slice()) as *mut u8
}

/// # Safety
/// Of broker alone: `at` is what `alloc` gave for this size.
#[no_mangle]
pub unsafe extern "C" fn handle(at: *mut u8, size: usize) -> u64 {
    let answer = match answered(&parse(Vec::from_raw_parts(at, size, size))) {
        Ok(json) => format!(r#"{{"result":{json}}}"#),
        Err((code, message)) => object([("error", object([("code", code.into()), ("message", message.into())]))]).to_string(),
    };
    let kept = Box::leak(answer.into_boxed_str());
    (kept.as_ptr() as u64) << 32 | kept.len() as u64
}

#[no_mangle]
pub extern "C" fn protocol_version() -> i32 {
    1
}

/// The bytes that the host left at a place which `alloc` gave it.
unsafe fn taken(packed: u64) -> Vec<u8> {
    let size = packed as u32 as usize;
    Vec::from_raw_parts((packed >> 32) as *mut u8, size, size)
}

mod host {
    #[link(wasm_import_module = "host")]
    extern "C" {
        pub fn log(level: i32, at: *const u8, size: usize);
        pub fn call(at: *const u8, size: usize) -> u64;
    }
}
