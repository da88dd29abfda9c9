// my-plugin: one tool for models.
#include "broker.h"

static void greet(Json arguments, Json config) {
  static char greeting[200], name[200];
  text_of(member(config, "greeting"), greeting, sizeof greeting);
  text_of(member(arguments, "name"), name, sizeof name);
  write_log(INFO, "greeting");
  say_text(greeting, ", ", name, "!");
}

const Tool TOOLS[] = {
    {
        .name = "greet",
        .description = "Greets somebody",
        .input = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"description\":\"Whom\"}},"
                 "\"required\":[\"name\"]}",
        .read_only = true,
        .run = greet,
    },
    {0},
};
