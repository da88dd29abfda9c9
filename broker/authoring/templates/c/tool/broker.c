// The other half of broker.h: JSON, and what broker calls.
#include "broker.h"

#define IMPORT(name) __attribute__((import_module("host"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("log") extern void host_log(uint32_t level, const char *at, size_t size);
IMPORT("call") extern uint64_t host_call(const char *at, size_t size);

// Memory: from the end of what the linker placed upwards, and never given back

extern char __heap_base;
static uintptr_t next;

EXPORT("alloc") char *alloc(size_t size) {
  if (!next) next = (uintptr_t)&__heap_base;
  uintptr_t at = (next + 7) & ~(uintptr_t)7;
  size_t pages = __builtin_wasm_memory_size(0);
  if (at + size > pages * 65536) {
    size_t more = (at + size - pages * 65536 + 65535) / 65536;
    if (__builtin_wasm_memory_grow(0, more) == (size_t)-1) return NULL;
  }
  next = at + size;
  return (char *)at;
}

static size_t length(const char *text) {
  size_t size = 0;
  while (text[size]) size++;
  return size;
}

// Reading JSON as broker writes it, which is valid

static bool is_space(char letter) { return letter == ' ' || letter == '\n' || letter == '\r' || letter == '\t'; }

static const char *after_spaces(const char *at) {
  while (is_space(*at)) at++;
  return at;
}

static const char *after_text(const char *at) {
  for (at++; *at != '"'; at++) at += *at == '\\';
  return at + 1;
}

// Where a value ends that begins here.
static const char *after_value(const char *at) {
  if (*at == '"') return after_text(at);
  if (*at != '{' && *at != '[') {
    while (*at != ',' && *at != '}' && *at != ']' && !is_space(*at)) at++;
    return at;
  }
  int depth = 0;
  do {
    if (*at == '"') {
      at = after_text(at);
      continue;
    }
    depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
    at++;
  } while (depth);
  return at;
}

static bool same(Json text, const char *word) {
  size_t size = length(word);
  if (text.size != size + 2) return false;
  for (size_t at = 0; at < size; at++)
    if (text.at[at + 1] != word[at]) return false;
  return true;
}

Json member(Json object, const char *key) {
  if (!object.at || *object.at != '{') return (Json){0};
  const char *at = after_spaces(object.at + 1);
  while (*at != '}') {
    Json name = {at, after_text(at) - at};
    at = after_spaces(after_spaces(at + name.size) + 1);
    Json value = {at, after_value(at) - at};
    if (same(name, key)) return value;
    at = after_spaces(at + value.size);
    if (*at == ',') at = after_spaces(at + 1);
  }
  return (Json){0};
}

int64_t integer_of(Json value) {
  int64_t number = 0;
  size_t at = value.size && *value.at == '-';
  for (; at < value.size && value.at[at] >= '0' && value.at[at] <= '9'; at++) number = number * 10 + value.at[at] - '0';
  return value.size && *value.at == '-' ? -number : number;
}

static uint32_t unit_of(const char *at) {
  uint32_t unit = 0;
  for (int digit = 0; digit < 4; digit++) {
    char letter = at[digit];
    unit = unit * 16 + (letter <= '9' ? letter - '0' : (letter | 32) - 'a' + 10);
  }
  return unit;
}

// One letter as UTF-8, and how many bytes it has.
static size_t encoded(uint32_t letter, char *to) {
  size_t size = letter < 0x80 ? 1 : letter < 0x800 ? 2 : letter < 0x10000 ? 3 : 4;
  if (size == 1) {
    *to = (char)letter;
    return 1;
  }
  for (size_t at = size - 1; at > 0; at--, letter >>= 6) to[at] = (char)(0x80 | (letter & 0x3f));
  *to = (char)((0xf00 >> size & 0xff) | letter);
  return size;
}

// The letter that is escaped behind a backslash; moves `at` to the last byte of it.
static size_t unescaped(const char **at, char *to) {
  static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
  for (size_t nth = 0; from[nth]; nth++)
    if (**at == from[nth]) return encoded((uint32_t)into[nth], to);
  if (**at != 'u') return encoded((uint32_t)**at, to);
  uint32_t letter = unit_of(*at + 1);
  *at += 4;
  if (letter >= 0xd800 && letter < 0xdc00 && (*at)[1] == '\\' && (*at)[2] == 'u') {
    letter = 0x10000 + ((letter - 0xd800) << 10) + (unit_of(*at + 3) - 0xdc00);
    *at += 6;
  }
  return encoded(letter, to);
}

size_t text_of(Json value, char *to, size_t room) {
  size_t size = 0;
  bool is_text = value.size && *value.at == '"';
  const char *end = value.at + value.size - 1;
  for (const char *at = value.at + 1; is_text && at < end; at++) {
    char letter[4] = {*at};
    size_t bytes = 1;
    if (*at == '\\') {
      at++;
      bytes = unescaped(&at, letter);
    }
    if (size + bytes >= room) {
      while (size && (*at & 0xc0) == 0x80 && (to[size] & 0x80)) size--;  // no half of a letter
      break;
    }
    for (size_t byte = 0; byte < bytes; byte++) to[size++] = letter[byte];
  }
  to[size] = 0;
  return size;
}

// Writing an answer

static char *answer;
static size_t answer_size, answer_room;

static void put(const char *text, size_t size) {
  if (answer_size + size > answer_room) {
    answer_room = (answer_size + size) * 2;
    char *larger = alloc(answer_room);
    if (!larger) __builtin_trap();
    for (size_t at = 0; at < answer_size; at++) larger[at] = answer[at];
    answer = larger;
  }
  for (size_t at = 0; at < size; at++) answer[answer_size++] = text[at];
}

static void put_word(const char *word) { put(word, length(word)); }

static void put_escaped(const char *text) {
  for (; *text; text++) {
    char code[] = {'\\', 'u', '0', '0', '0' + (*text >> 4), "0123456789abcdef"[*text & 15]};
    if (*text == '"' || *text == '\\') put("\\", 1);
    if ((unsigned char)*text < ' ')
      put(code, 6);
    else
      put(text, 1);
  }
}

static void put_text(const char *text) {
  put_word("\"");
  put_escaped(text);
  put_word("\"");
}

void say_json(const char *json) {
  answer_size = 0;
  put_word("{\"result\":");
  put_word(json);
  put_word("}");
}

void say_pieces(bool failed, const char **pieces) {
  answer_size = 0;
  put_word(failed ? "{\"error\":{\"code\":\"failed\",\"message\":\"" : "{\"result\":\"");
  for (; *pieces; pieces++) put_escaped(*pieces);
  put_word(failed ? "\"}}" : "\"}");
}

static void list_tools(void) {
  answer_size = 0;
  put_word("{\"result\":{\"tools\":[");
  for (const Tool *tool = TOOLS; tool->name; tool++) {
    put_word(tool == TOOLS ? "{\"name\":" : ",{\"name\":");
    put_text(tool->name);
    put_word(",\"description\":");
    put_text(tool->description);
    put_word(",\"inputSchema\":");
    put_word(tool->input);
    put_word(tool->read_only ? ",\"annotations\":{\"readOnlyHint\":true}}" : "}");
  }
  put_word("]}}");
}

static void call_tool(Json request) {
  Json params = member(request, "params");
  for (const Tool *tool = TOOLS; tool->name; tool++)
    if (same(member(params, "name"), tool->name)) {
      say_json("null");
      tool->run(member(params, "arguments"), member(request, "config"));
      return;
    }
  fail("There is no such tool.");
}

// The host

void write_log(Level level, const char *text) { host_log(level, text, length(text)); }

Json call_host(const char *op, const char *params, Json *error) {
  char *kept = answer;
  size_t size = answer_size, room = answer_room;
  answer = NULL;
  answer_size = answer_room = 0;
  put_word("{\"op\":");
  put_text(op);
  put_word(",\"params\":");
  put_word(params);
  put_word("}");
  uint64_t packed = host_call(answer, answer_size);
  answer = kept;
  answer_size = size;
  answer_room = room;
  Json found = {(const char *)(uintptr_t)(packed >> 32), (size_t)(packed & 0xffffffff)};
  if (error) *error = member(found, "error");
  return member(found, "result");
}

// What broker calls

EXPORT("protocol_version") uint32_t protocol_version(void) { return 1; }

EXPORT("handle") uint64_t handle(const char *at, size_t size) {
  Json request = {at, size};
  Json op = member(request, "op");
  if (same(op, "tools/list"))
    list_tools();
  else if (same(op, "tools/call"))
    call_tool(request);
  else {
    answer_size = 0;
    put_word("{\"error\":{\"code\":\"unknown-op\",\"message\":\"There is no such operation.\"}}");
  }
  return (uint64_t)(uintptr_t)answer << 32 | answer_size;
}
