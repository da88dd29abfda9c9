//! my-plugin: one tool for models.

mod broker;

use broker::{Tool, Value};

pub const TOOLS: &[Tool] = &[Tool {
    name: "greet",
    description: "Greets somebody",
    input: r#"{
        "type": "object",
        "properties": {"name": {"type": "string", "description": "Whom"}},
        "required": ["name"]
    }"#,
    read_only: true,
    run: greet,
}];

fn greet(arguments: &Value, config: &Value) -> Result<Value, String> {
    broker::log(broker::INFO, "greeting");
    Ok(format!("{}, {}!", config["greeting"].text(), arguments["name"].text()).into())
}
