/* Loaded before libc into a program under test: writes down which files are synced and renamed, in order, and kills the
 * program right before one of these calls.
 *
 *   TRACE_FILE      where the lines go: "fsync PATH", "rename FROM TO"
 *   KILL_BEFORE     end of a path: SIGKILL before a rename to it
 *   KILL_AFTER      end of a path: SIGKILL after a rename to it
 *   KILL_AT         number: SIGKILL before this call, counted from 1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void count(void) {
    static int calls;
    const char *at = getenv("KILL_AT");
    if (at != NULL && ++calls == atoi(at)) raise(SIGKILL);
}

static int ends_as(const char *path, const char *variable) {
    const char *end = getenv(variable);
    return end != NULL && strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

static void note(const char *line) {
    const char *path = getenv("TRACE_FILE");
    if (path == NULL) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    ssize_t written = write(fd, line, strlen(line));
    (void)written;
    close(fd);
}

static void note_sync(int fd) {
    char link[64], target[PATH_MAX], line[PATH_MAX + 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) return;
    target[length] = '\0';
    snprintf(line, sizeof line, "fsync %s\n", target);
    note(line);
}

int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    count();
    note_sync(fd);
    return real(fd);
}

static void before_rename(const char *from, const char *to) {
    char line[2 * PATH_MAX + 16];
    if (ends_as(to, "KILL_BEFORE")) raise(SIGKILL);
    count();
    snprintf(line, sizeof line, "rename %s %s\n", from, to);
    note(line);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (real == NULL) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    before_rename(from, to);
    int result = real(from, to);
    if (ends_as(to, "KILL_AFTER")) raise(SIGKILL);
    return result;
}

/* Absolute path of a name in an open directory. */
static void resolve(int directory, const char *name, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = '\0';
    strncat(path, "/", PATH_MAX - strlen(path) - 1);
    strncat(path, name, PATH_MAX - strlen(path) - 1);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    static int (*real)(int, const char *, int, const char *);
    char source[PATH_MAX], target[PATH_MAX];
    if (real == NULL) real = (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    resolve(from_directory, from, source);
    resolve(to_directory, to, target);
    before_rename(source, target);
    int result = real(from_directory, from, to_directory, to);
    if (ends_as(target, "KILL_AFTER")) raise(SIGKILL);
    return result;
}
