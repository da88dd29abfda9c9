// What a plugin of broker has to have, and its host: TOOLS of plugin.c are listed and called from broker.c.
// Broker asks in JSON and is answered in JSON; an instance that was asked is thrown away after its answer.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One value of JSON where it stands, with its quotes or brackets; `at` is NULL for none.
typedef struct {
  const char *at;
  size_t size;
} Json;

// A tool; `input` is the JSON Schema of its arguments, which broker has checked before `run` sees them.
// `run` is given the arguments and the plugin's configuration, and says one thing, or fails.
typedef struct {
  const char *name, *description, *input;
  bool read_only;
  void (*run)(Json arguments, Json config);
} Tool;

extern const Tool TOOLS[];  // the last has no name

// A member of an object; none if there is none.
Json member(Json object, const char *key);
// A text without its quotes and escapes, ended by 0; as much of it as there is room for. Gives its length.
size_t text_of(Json value, char *to, size_t room);
// A whole number, such as 12 of `12.5`; 0 of what is no number.
int64_t integer_of(Json value);

// The result: any JSON, or a text of several pieces.
void say_json(const char *json);
#define say_text(...) say_pieces(false, (const char *[]){__VA_ARGS__, NULL})
// What the model is told instead of a result.
#define fail(...) say_pieces(true, (const char *[]){__VA_ARGS__, NULL})
void say_pieces(bool failed, const char **pieces);

typedef enum { ERROR, WARNING, INFO, DEBUG } Level;
// One line for `broker log`.
void write_log(Level level, const char *text);
// One operation of the host, such as "state.get", with its params as JSON; what it may do stands under `[permissions]`
// in plugin.toml. Gives its result, or none and in `error`, if that is not NULL, what went wrong.
Json call_host(const char *op, const char *params, Json *error);
