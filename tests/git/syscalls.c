/* Loaded before libc into a program under test: writes down which files are synced and renamed, in order, and kills the
 * program right before it renames something to a path that ends as asked.
 *
 *   TRACE_FILE      where the lines go: "fsync PATH", "rename FROM TO"
 *   KILL_BEFORE     end of a path: SIGKILL before a rename to it
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
    note_sync(fd);
    return real(fd);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    char line[2 * PATH_MAX + 16];
    if (real == NULL) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    const char *end = getenv("KILL_BEFORE");
    if (end != NULL && strlen(to) >= strlen(end) && strcmp(to + strlen(to) - strlen(end), end) == 0) raise(SIGKILL);
    snprintf(line, sizeof line, "rename %s %s\n", from, to);
    note(line);
    return real(from, to);
}
