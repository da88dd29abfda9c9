// A WASM plugin in C without a library: it answers with how many bytes its arguments have.
typedef unsigned int u32;
typedef unsigned long long u64;

__attribute__((import_module("host"), import_name("log"))) extern void host_log(u32 level, const char *text, u32 length);

static char heap[1 << 20];
static u32 used;

__attribute__((export_name("alloc"))) char *alloc(u32 size) {
  if (size > sizeof heap - used) return 0;
  char *at = heap + used;
  used += size;
  return at;
}

static u32 length(const char *text) {
  u32 n = 0;
  while (text[n]) n++;
  return n;
}

static int has(const char *text, u32 size, const char *word) {
  u32 n = length(word);
  for (u32 i = 0; i + n <= size; i++) {
    u32 j = 0;
    while (j < n && text[i + j] == word[j]) j++;
    if (j == n) return 1;
  }
  return 0;
}

static u64 answer(const char *text) { return (u64)(u32)text << 32 | length(text); }

__attribute__((export_name("protocol_version"))) u32 protocol_version(void) { return 1; }
__attribute__((export_name("health"))) u32 health(void) { return 0; }

__attribute__((export_name("handle"))) u64 handle(const char *at, u32 size) {
  if (has(at, size, "\"op\":\"tools/list\""))
    return answer("{\"result\":{\"tools\":[{\"name\":\"size\",\"description\":\"How long the request is.\"}]}}");
  if (!has(at, size, "\"op\":\"tools/call\"")) return answer("{\"error\":{\"code\":\"unknown-op\"}}");
  host_log(2, "counting", 8);
  static char text[32] = "{\"result\":";
  u32 end = 10, digits = 1;
  for (u32 n = size; n >= 10; n /= 10) digits++;
  for (u32 i = 0; i < digits; i++, size /= 10) text[end + digits - 1 - i] = '0' + size % 10;
  text[end + digits] = '}';
  return answer(text);
}
