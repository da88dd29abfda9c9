/* A core module with WASI: a tool that does with files, variables and sockets what its arguments say. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT(name) __attribute__((export_name(name)))

static char answer[1 << 16];

EXPORT("alloc") void *plugin_alloc(size_t size) { return malloc(size); }
EXPORT("protocol_version") int plugin_version(void) { return 1; }

static long long says(const char *text) {
  size_t size = strlen(text);
  return ((long long)(size_t)text << 32) | (long long)size;
}

static long long result(const char *text) {
  snprintf(answer, sizeof answer, "{\"result\":\"%s\"}", text);
  return says(answer);
}

static long long failed(const char *what) {
  snprintf(answer, sizeof answer, "{\"result\":\"%s: %s\"}", what, strerror(errno));
  return says(answer);
}

/* The text of a member of the request. */
static const char *member(const char *request, const char *name, char *into, size_t most) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\":", name);
  const char *found = strstr(request, key);
  size_t size = 0;
  if (found) {
    for (found = strchr(found + strlen(key), '"') + 1; *found && *found != '"' && size < most - 1; found++) into[size++] = *found;
  }
  into[size] = 0;
  return into;
}

static long long reads(const char *path) {
  char text[4096] = {0};
  FILE *file = fopen(path, "r");
  if (!file) return failed("read");
  size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  return result(text);
}

static long long writes(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  if (!file) return failed("write");
  fprintf(file, "%s", text);
  return fclose(file) ? failed("close") : result("written");
}

static long long lists(const char *path) {
  char text[4096] = {0};
  DIR *folder = opendir(path);
  if (!folder) return failed("list");
  for (struct dirent *each; (each = readdir(folder));) {
    strncat(text, each->d_name, sizeof text - strlen(text) - 2);
    strcat(text, ",");
  }
  closedir(folder);
  return result(text);
}

EXPORT("handle") long long plugin_handle(const char *at, size_t size) {
  static char request[8192], what[64], path[2048], text[2048];
  memcpy(request, at, size < sizeof request - 1 ? size : sizeof request - 1);
  if (strstr(request, "\"tools/list\"")) {
    return says("{\"result\":{\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}]}}");
  }
  if (!strstr(request, "\"tools/call\"")) return says("{\"error\":{\"code\":\"unknown-op\",\"message\":\"?\"}}");
  member(request, "do", what, sizeof what);
  member(request, "path", path, sizeof path);
  member(request, "text", text, sizeof text);
  printf("doing %s\n", what);
  fprintf(stderr, "complaining about %s\n", what);
  fflush(stdout);
  if (!strcmp(what, "read")) return reads(path);
  if (!strcmp(what, "write")) return writes(path, text);
  if (!strcmp(what, "list")) return lists(path);
  if (!strcmp(what, "env")) return result(getenv(text) ? getenv(text) : "(none)");
  if (!strcmp(what, "remove")) return unlink(path) ? failed("remove") : result("removed");
  if (!strcmp(what, "folder")) return mkdir(path, 0700) ? failed("folder") : result("made");
  if (!strcmp(what, "rename")) return rename(path, text) ? failed("rename") : result("renamed");
  if (!strcmp(what, "link")) return symlink(text, path) ? failed("link") : result("linked");
  if (!strcmp(what, "sleep")) return sleep(3600) ? failed("sleep") : result("slept");
  if (!strcmp(what, "exit")) exit(3);
  if (!strcmp(what, "abort")) abort();
  if (!strcmp(what, "flood")) for (;;) fputs("flood\n", stdout), fflush(stdout);
  if (!strcmp(what, "open")) { for (int n = 0;; n++) if (!fopen(path, "r")) return failed("open"); }
  if (!strcmp(what, "time")) return time(NULL) > 1000000000 ? result("now") : result("then");
  return result(text);
}
