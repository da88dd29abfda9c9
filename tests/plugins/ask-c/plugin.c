// A plugin on broker.c of the template in C: it asks its host what its arguments say.
#include "broker.h"

static void ask(Json arguments, Json config) {
  static char op[100], params[1000], message[100];
  Json error, given = member(arguments, "params");
  text_of(member(arguments, "op"), op, sizeof op);
  for (size_t at = 0; at < given.size && at < sizeof params - 1; at++) params[at] = given.at[at];
  Json found = call_host(op, params, &error);
  if (error.at) {
    text_of(member(error, "message"), message, sizeof message);
    fail("The host says: ", message);
    return;
  }
  static char result[1000];
  for (size_t at = 0; at < found.size && at < sizeof result - 1; at++) result[at] = found.at[at];
  say_json(integer_of(member(config, "limit")) == -12 ? result : "null");
}

const Tool TOOLS[] = {
    {.name = "ask", .description = "Asks its host", .input = "{\"type\":\"object\"}", .run = ask},
    {0},
};
