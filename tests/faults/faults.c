/* Faults for one program: preloaded, it makes the program's calls fail, fall short, wait or kill, as a schedule says.
 *
 * FAULTS_PROGRAM  what the program's name begins with; its children, whose names begin otherwise, are let be
 * FAULTS_ROOT     calls on plain files count where they lie below this folder
 * FAULTS_RULES    "CALL KIND ACTION FIRST COUNT;...": the COUNT matching calls from number FIRST on are struck, with COUNT 0 all that follow
 * FAULTS_LOG      a file that gets a line for each strike, "struck CALL KIND ACTION NUMBER PLACE", and at the end one for each sort of
 *                 call with how many there were, "calls CALL KIND NUMBER"
 *
 * An action is the name of an error; `short` (half of the bytes), `full` (half of the bytes, then ENOSPC), `torn` (half of the bytes, then
 * SIGKILL), `wait` (a pause), `kill`, `term` and `hup` (that signal before the call), `killed` (SIGKILL after the call), or `+N` and `-N`
 * (the clock jumps by N seconds, for good).
 *
 * Numbers are of the whole process and not of each thread, and what is counted are calls of the C library: what a program asks the kernel
 * by itself is not seen here. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum call { OPEN, MAKE, READ, WRITE, SYNC, RENAME, REMOVE, FOLDER, CUT, LINK, LOOK, LIST, LOCK, SPAWN, AWAIT, CLOCK, CALLS };
static const char *const call_names[] = {"open",   "make", "read", "write", "sync", "rename", "remove", "folder",
                                         "cut",    "link", "look", "list",  "lock", "spawn",  "await",  "clock"};
enum kind { PLAIN, PIPE, SOCKET, OTHER, KINDS };
static const char *const kind_names[] = {"file", "pipe", "socket", "other"};
static const struct { const char *name; int number; } errors[] = {
    {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EINTR", EINTR}, {"EMFILE", EMFILE}, {"EAGAIN", EAGAIN}, {"EROFS", EROFS},
    {"ECONNRESET", ECONNRESET}, {"EPIPE", EPIPE}, {"ENOLCK", ENOLCK}, {"EXDEV", EXDEV}};

struct rule { int call, kind; char action[16]; long first, count; };
enum { MOST_RULES = 8, LONGEST = 4096, PAUSE_US = 30000 };

static int active;
static struct rule rules[MOST_RULES];
static int rule_count;
static char root[LONGEST], log_place[LONGEST];
static long counts[CALLS][KINDS];
static long jumped;
static __thread int dies_after;

static void tell(const char *line, int bytes) {
    int file = syscall(SYS_openat, AT_FDCWD, log_place, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    syscall(SYS_write, file, line, bytes);
    syscall(SYS_close, file);
}

static int named(const char *const *names, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

__attribute__((constructor)) static void begin(void) {
    const char *program = getenv("FAULTS_PROGRAM"), *given = getenv("FAULTS_RULES"), *where = getenv("FAULTS_ROOT"), *told = getenv("FAULTS_LOG");
    if (!program || !where || !told || strncmp(program_invocation_short_name, program, strlen(program)) != 0) return;
    snprintf(root, sizeof root, "%s/", where);
    snprintf(log_place, sizeof log_place, "%s", told);
    for (const char *at = given; at && *at && rule_count < MOST_RULES; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
        struct rule *rule = &rules[rule_count];
        char call[16], kind[16];
        if (sscanf(at, "%15s %15s %15s %ld %ld", call, kind, rule->action, &rule->first, &rule->count) != 5) continue;
        rule->call = named(call_names, CALLS, call);
        rule->kind = named(kind_names, KINDS, kind);
        if (rule->call >= 0 && rule->kind >= 0) rule_count++;
    }
    active = 1;
}

__attribute__((destructor)) static void end(void) {
    for (int call = 0; active && call < CALLS; call++)
        for (int kind = 0; kind < KINDS; kind++) {
            char line[64];
            if (counts[call][kind]) tell(line, snprintf(line, sizeof line, "calls %s %s %ld\n", call_names[call], kind_names[kind], counts[call][kind]));
        }
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call; the rule that strikes it, if one does. */
static const struct rule *strike(int call, int kind, const char *place, long *number) {
    *number = __atomic_add_fetch(&counts[call][kind], 1, __ATOMIC_RELAXED);
    for (int i = 0; i < rule_count; i++) {
        const struct rule *rule = &rules[i];
        if (rule->call != call || rule->kind != kind || *number < rule->first || (rule->count && *number >= rule->first + rule->count)) continue;
        /* Of a fault that stays, the first few are enough to tell of. */
        if (*number < rule->first + 20) {
            char line[LONGEST + 128];
            int bytes = snprintf(line, sizeof line, "struck %s %s %s %ld %s\n", call_names[call], kind_names[kind], rule->action, *number, place);
            tell(line, bytes < (int)sizeof line ? bytes : (int)sizeof line - 1);
        }
        return rule;
    }
    return NULL;
}

/* Whether the call fails; else as many of the bytes are asked for as are left in `bytes`, where it has bytes. */
static int fails(int call, int kind, const char *place, size_t *bytes) {
    long number;
    int before = errno;
    const struct rule *rule = strike(call, kind, place, &number);
    errno = before;
    if (!rule) return 0;
    const char *action = rule->action;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(action, errors[i].name) == 0) {
            errno = errors[i].number;
            return 1;
        }
    if (strcmp(action, "full") == 0 && (number > rule->first || !bytes || *bytes < 2)) {
        errno = ENOSPC;
        return 1;
    }
    int half = strcmp(action, "short") == 0 || strcmp(action, "full") == 0 || strcmp(action, "torn") == 0;
    if (half && bytes && *bytes > 1) *bytes /= 2;
    if (strcmp(action, "torn") == 0 || strcmp(action, "killed") == 0) dies_after = 1;
    if (strcmp(action, "kill") == 0) die();
    if (strcmp(action, "term") == 0) syscall(SYS_kill, getpid(), SIGTERM);
    if (strcmp(action, "hup") == 0) syscall(SYS_kill, getpid(), SIGHUP);
    if (strcmp(action, "wait") == 0) {
        struct timespec pause = {0, PAUSE_US * 1000L};
        syscall(SYS_nanosleep, &pause, NULL);
    }
    errno = before;
    return 0;
}

/* What a descriptor is. Messages to the operator are no part of a schedule: a judge reads them. */
static int kind_of(int fd, char *place) {
    struct stat about;
    snprintf(place, LONGEST, "descriptor %d", fd);
    if (fd == 2 || syscall(SYS_fstat, fd, &about) != 0) return OTHER;
    if (S_ISFIFO(about.st_mode)) return PIPE;
    if (S_ISSOCK(about.st_mode)) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof address;
        getsockname(fd, (struct sockaddr *)&address, &length);
        return address.ss_family == AF_INET || address.ss_family == AF_INET6 ? SOCKET : OTHER;
    }
    if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) return OTHER;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, place, LONGEST - 1);
    place[bytes > 0 ? bytes : 0] = 0;
    /* The folder itself is below it. */
    return strncmp(place, root, strlen(root) - 1) == 0 ? PLAIN : OTHER;
}

static int by_fd(int call, int fd, size_t *bytes) {
    char place[LONGEST];
    if (!active) return 0;
    int before = errno, kind = kind_of(fd, place);
    errno = before;
    return kind != OTHER && fails(call, kind, place, bytes);
}

/* The program runs in the folder, so what is no full path lies below it. */
static int by_path(int call, int folder, const char *path) {
    if (!active || !path) return 0;
    if (path[0] == '/') return strncmp(path, root, strlen(root)) == 0 && fails(call, PLAIN, path, NULL);
    if (folder == AT_FDCWD) return fails(call, PLAIN, path, NULL);
    char place[LONGEST];
    int before = errno, kind = kind_of(folder, place);
    errno = before;
    return kind == PLAIN && fails(call, PLAIN, path, NULL);
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ENDED(type, result) \
    type ended = (result); \
    if (dies_after) die(); \
    return ended

#define BYTES(call, name, signature, count, ...) \
    ssize_t name signature { \
        NEXT(name); \
        if (by_fd(call, fd, &count)) return -1; \
        ENDED(ssize_t, next(__VA_ARGS__)); \
    }
BYTES(READ, read, (int fd, void *to, size_t n), n, fd, to, n)
BYTES(READ, pread64, (int fd, void *to, size_t n, off64_t at), n, fd, to, n, at)
BYTES(READ, recv, (int fd, void *to, size_t n, int flags), n, fd, to, n, flags)
BYTES(WRITE, write, (int fd, const void *from, size_t n), n, fd, from, n)
BYTES(WRITE, pwrite64, (int fd, const void *from, size_t n, off64_t at), n, fd, from, n, at)
BYTES(WRITE, send, (int fd, const void *from, size_t n, int flags), n, fd, from, n, flags)
BYTES(WRITE, copy_file_range, (int in, off64_t *from, int fd, off64_t *to, size_t n, unsigned flags), n, in, from, fd, to, n, flags)
BYTES(WRITE, sendfile64, (int fd, int in, off64_t *from, size_t n), n, fd, in, from, n)
BYTES(WRITE, splice, (int in, off64_t *from, int fd, off64_t *to, size_t n, unsigned flags), n, in, from, fd, to, n, flags)

/* Of several buffers a short call takes a part of the first one. */
#define BUFFERS(call, name) \
    ssize_t name(int fd, const struct iovec *buffers, int count) { \
        NEXT(name); \
        size_t first = count > 0 ? buffers[0].iov_len : 0, asked = first; \
        if (by_fd(call, fd, &asked)) return -1; \
        struct iovec part = {count > 0 ? buffers[0].iov_base : NULL, asked}; \
        ENDED(ssize_t, asked < first ? next(fd, &part, 1) : next(fd, buffers, count)); \
    }
BUFFERS(READ, readv)
BUFFERS(WRITE, writev)

#define BY_FD(call, name, signature, ...) \
    int name signature { \
        NEXT(name); \
        if (by_fd(call, fd, NULL)) return -1; \
        ENDED(int, next(__VA_ARGS__)); \
    }
BY_FD(SYNC, fsync, (int fd), fd)
BY_FD(SYNC, fdatasync, (int fd), fd)
BY_FD(CUT, ftruncate64, (int fd, off64_t bytes), fd, bytes)
BY_FD(LOCK, flock, (int fd, int how), fd, how)
BY_FD(LOOK, fstat64, (int fd, struct stat64 *about), fd, about)

#define BY_PATH(call, name, signature, folder, path, ...) \
    int name signature { \
        NEXT(name); \
        if (by_path(call, folder, path)) return -1; \
        ENDED(int, next(__VA_ARGS__)); \
    }
BY_PATH(RENAME, rename, (const char *from, const char *to), AT_FDCWD, to, from, to)
BY_PATH(REMOVE, unlink, (const char *path), AT_FDCWD, path, path)
BY_PATH(REMOVE, unlinkat, (int folder, const char *path, int flags), folder, path, folder, path, flags)
BY_PATH(REMOVE, rmdir, (const char *path), AT_FDCWD, path, path)
BY_PATH(FOLDER, mkdir, (const char *path, mode_t mode), AT_FDCWD, path, path, mode)
BY_PATH(LINK, link, (const char *from, const char *to), AT_FDCWD, to, from, to)
BY_PATH(LINK, linkat, (int a, const char *from, int b, const char *to, int flags), b, to, a, from, b, to, flags)
BY_PATH(LINK, symlink, (const char *from, const char *to), AT_FDCWD, to, from, to)
BY_PATH(LOOK, stat64, (const char *path, struct stat64 *about), AT_FDCWD, path, path, about)
BY_PATH(LOOK, lstat64, (const char *path, struct stat64 *about), AT_FDCWD, path, path, about)

/* Rust's library asks with null pointers whether the call is there; its declaration says that nobody does. */
int statx(int folder, const char *restrict given, int flags, unsigned mask, struct statx *restrict about) {
    NEXT(statx);
    const char *volatile path = given;
    if (path && (path[0] == 0 ? by_fd(LOOK, folder, NULL) : by_path(LOOK, folder, path))) return -1;
    ENDED(int, next(folder, given, flags, mask, about));
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (by_path(flags & O_CREAT ? MAKE : OPEN, AT_FDCWD, path)) return -1;
    ENDED(int, next(path, flags, mode));
}

int openat64(int folder, const char *path, int flags, ...) {
    NEXT(openat64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (by_path(flags & O_CREAT ? MAKE : OPEN, folder, path)) return -1;
    ENDED(int, next(folder, path, flags, mode));
}

DIR *opendir(const char *path) {
    NEXT(opendir);
    if (by_path(LIST, AT_FDCWD, path)) return NULL;
    ENDED(DIR *, next(path));
}

struct dirent64 *readdir64(DIR *folder) {
    NEXT(readdir64);
    if (by_fd(LIST, dirfd(folder), NULL)) return NULL;
    ENDED(struct dirent64 *, next(folder));
}

int posix_spawnp(pid_t *pid, const char *program, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *how, char *const arguments[],
                 char *const environment[]) {
    NEXT(posix_spawnp);
    if (active && fails(SPAWN, OTHER, program, NULL)) return errno;
    ENDED(int, next(pid, program, actions, how, arguments, environment));
}

pid_t fork(void) {
    NEXT(fork);
    if (active && fails(SPAWN, OTHER, "fork", NULL)) return -1;
    return next();
}

int poll(struct pollfd *of, nfds_t count, int timeout) {
    NEXT(poll);
    if (active && fails(AWAIT, OTHER, "poll", NULL)) return -1;
    return next(of, count, timeout);
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    NEXT(epoll_wait);
    if (active && fails(AWAIT, OTHER, "epoll_wait", NULL)) return -1;
    return next(fd, events, most, timeout);
}

pid_t waitpid(pid_t child, int *status, int flags) {
    NEXT(waitpid);
    /* Who does not wait is not interrupted. */
    if (active && !(flags & WNOHANG) && fails(AWAIT, OTHER, "waitpid", NULL)) return -1;
    return next(child, status, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    NEXT(accept4);
    if (by_fd(OPEN, fd, NULL)) return -1;
    ENDED(int, next(fd, address, length, flags));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    NEXT(clock_gettime);
    int ended = next(clock, time);
    if (!active || clock != CLOCK_REALTIME || ended != 0) return ended;
    long number;
    const struct rule *rule = strike(CLOCK, OTHER, "the clock", &number);
    if (rule && (rule->action[0] == '+' || rule->action[0] == '-') && number == rule->first) __atomic_add_fetch(&jumped, atol(rule->action), __ATOMIC_RELAXED);
    time->tv_sec += __atomic_load_n(&jumped, __ATOMIC_RELAXED);
    return ended;
}
