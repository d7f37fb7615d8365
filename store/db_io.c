#include "store/db_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_WAIT_MS 2000 /* for another process that is just starting or stopping */
#define WAIT_MS 100       /* later, where nothing else is asked for */
#define CHECK_PAGES 4096  /* larger files are not read through when they are opened */

struct km_db_stmt {
  km_db *db;
  sqlite3_stmt *stmt;
  int failed; /* SQLite's code of the first parameter that could not be bound */
  km_db_stmt *next;
};

struct km_db {
  const km_env *env;
  sqlite3 *sqlite;
  char *path; /* for sentences */
  km_db_stmt *stmts;
};

/* --- errors ----------------------------------------------------------------------------------- */

static int code_of_errno(int sys_errno, int otherwise) {
  switch (sys_errno) {
  case ENOENT:
  case ENOTDIR:
    return KM_ERR_FILE_NOT_FOUND;
  case EACCES:
  case EPERM:
  case EROFS:
    return KM_ERR_PERMISSION;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return KM_ERR_NO_SPACE;
  case ENOMEM:
    return KM_ERR_NOMEM;
  default:
    return otherwise;
  }
}

static int code_of(int rc, int sys_errno) {
  switch (rc & 0xff) {
  case SQLITE_FULL:
    return KM_ERR_NO_SPACE;
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return KM_ERR_STORE_BUSY;
  case SQLITE_NOTADB:
  case SQLITE_CORRUPT:
  case SQLITE_FORMAT:
    return KM_ERR_STORE_DAMAGED;
  case SQLITE_READONLY:
  case SQLITE_PERM:
    return KM_ERR_PERMISSION;
  case SQLITE_NOMEM:
    return KM_ERR_NOMEM;
  case SQLITE_CANTOPEN:
  case SQLITE_IOERR:
    return rc == SQLITE_IOERR_NOMEM ? KM_ERR_NOMEM : code_of_errno(sys_errno, KM_ERR_STORE);
  default:
    return KM_ERR_STORE;
  }
}

static int refuse(const km_db *db, km_errinfo *err, const char *why) {
  return km_fail(err, KM_ERR_STORE_DAMAGED, "the database %s %s", db->path, why);
}

/* SQLite's own answer is whatever errno is by then; the files remember what failed in them. */
static int errno_of(const km_db *db, int rc) {
  static const int which[] = {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER};
  bool io = (rc & 0xff) == SQLITE_IOERR;
  for (size_t i = 0; io && i < sizeof which / sizeof which[0]; i++) {
    sqlite3_file *file = NULL;
    int sys_errno = 0;
    if (sqlite3_file_control(db->sqlite, "main", which[i], &file) == SQLITE_OK && file != NULL &&
        file->pMethods != NULL &&
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &sys_errno) == SQLITE_OK &&
        code_of_errno(sys_errno, 0) != 0) {
      return sys_errno;
    }
  }
  return sqlite3_system_errno(db->sqlite);
}

static int fail(const km_db *db, int rc, km_errinfo *err) {
  int code = code_of(rc, db->sqlite == NULL ? 0 : errno_of(db, rc));
  const char *why = db->sqlite == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(db->sqlite);
  switch (code) {
  case KM_ERR_NO_SPACE:
    return km_fail(err, code, "the database %s cannot grow: the disk is full", db->path);
  case KM_ERR_STORE_BUSY:
    return km_fail(err, code, "the database %s is held by another process", db->path);
  case KM_ERR_STORE_DAMAGED:
    return km_fail(err, code, "the database %s is damaged: %s", db->path, why);
  default:
    return km_fail(err, code, "the database %s: %s", db->path, why);
  }
}

bool km_db_in_transaction(const km_db *db) {
  return sqlite3_get_autocommit(db->sqlite) == 0;
}

/* --- statements ------------------------------------------------------------------------------- */

int km_db_exec(km_db *db, const char *sql, km_errinfo *err) {
  int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
  return rc == SQLITE_OK ? 0 : fail(db, rc, err);
}

int km_db_prepare(km_db *db, km_db_stmt **ret, const char *sql, km_errinfo *err) {
  km_db_stmt *s = km_env_zalloc(db->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rc = sqlite3_prepare_v3(db->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt, NULL);
  if (rc != SQLITE_OK) {
    km_env_free(db->env, s);
    return fail(db, rc, err);
  }
  s->db = db;
  s->next = db->stmts;
  db->stmts = s;
  *ret = s;
  return 0;
}

static void bound(km_db_stmt *s, int rc) {
  if (s->failed == SQLITE_OK) {
    s->failed = rc;
  }
}

void km_db_bind_int(km_db_stmt *s, int at, int64_t value) {
  bound(s, sqlite3_bind_int64(s->stmt, at, value));
}

void km_db_bind_bytes(km_db_stmt *s, int at, const void *bytes, size_t len) {
  bound(s, sqlite3_bind_blob64(s->stmt, at, bytes, len, SQLITE_STATIC));
}

void km_db_bind_text(km_db_stmt *s, int at, const char *text) {
  bound(s, sqlite3_bind_text(s->stmt, at, text, -1, SQLITE_STATIC));
}

void km_db_reset(km_db_stmt *s) {
  (void)sqlite3_reset(s->stmt); /* repeats the error of the last step */
  (void)sqlite3_clear_bindings(s->stmt);
  s->failed = SQLITE_OK;
}

int km_db_step(km_db_stmt *s, km_errinfo *err) {
  int rc = s->failed != SQLITE_OK ? s->failed : sqlite3_step(s->stmt);
  if (rc == SQLITE_ROW) {
    return 1;
  }
  int rv = rc == SQLITE_DONE ? 0 : fail(s->db, rc, err);
  km_db_reset(s);
  return rv;
}

int km_db_run(km_db_stmt *s, km_errinfo *err) {
  int rv;
  do {
    rv = km_db_step(s, err);
  } while (rv > 0);
  return rv;
}

int64_t km_db_int(km_db_stmt *s, int column) {
  return sqlite3_column_int64(s->stmt, column);
}

const uint8_t *km_db_bytes(km_db_stmt *s, int column, size_t *ret_len) {
  const uint8_t *bytes = sqlite3_column_blob(s->stmt, column);
  *ret_len = bytes == NULL ? 0 : (size_t)sqlite3_column_bytes(s->stmt, column);
  return bytes;
}

const char *km_db_text(km_db_stmt *s, int column) {
  return (const char *)sqlite3_column_text(s->stmt, column);
}

bool km_db_id(km_db_stmt *s, int column, km_id *ret) {
  size_t len;
  const uint8_t *bytes = km_db_bytes(s, column, &len);
  if (len != KM_ID_BYTES) {
    return false;
  }
  memcpy(ret->bytes, bytes, KM_ID_BYTES);
  return true;
}

int64_t km_db_number(km_db_stmt *s, km_errinfo *err) {
  int rv = km_db_step(s, err);
  if (rv <= 0) {
    return rv;
  }
  int64_t number = km_db_int(s, 0);
  km_db_reset(s);
  return number;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* One number that a statement gives. */
static int query_int(km_db *db, const char *sql, int64_t *ret, km_errinfo *err) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt, NULL);
  if (rc == SQLITE_OK) {
    rc = sqlite3_step(stmt);
  }
  int rv = 0;
  if (rc == SQLITE_ROW) {
    *ret = sqlite3_column_int64(stmt, 0);
  } else {
    rv = fail(db, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, err);
  }
  (void)sqlite3_finalize(stmt);
  return rv;
}

/* Makes the file with our mode, whatever the umask, or looks at the one that is there. It is not
 * opened then: closing it would drop the locks that another connection of this process holds
 * (fcntl(2), and sqlite.org/howtocorrupt.html section 2.2). */
static int make_file(const km_db *db, bool *ret_empty, km_errinfo *err) {
  int fd = open(db->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd >= 0) {
    (void)fchmod(fd, S_IRUSR | S_IWUSR);
    (void)close(fd);
    *ret_empty = true;
    return 0;
  }
  struct stat st;
  if (errno == EEXIST && stat(db->path, &st) == 0) {
    *ret_empty = st.st_size == 0;
    return S_ISREG(st.st_mode) ? 0 : refuse(db, err, "is not a regular file");
  }
  int sys_errno = errno;
  (void)km_fail_errno(err, sys_errno, "cannot make the database %s", db->path);
  int code = code_of_errno(sys_errno, KM_ERR_STORE);
  if (err != NULL) {
    err->code = code;
  }
  return code;
}

/* "file:<path>?<query>" (sqlite.org/uri.html). */
static char *make_uri(const km_env *env, const char *path, const char *query) {
  size_t cap = sizeof "file:" + 2 + strlen(path) * 3 + strlen(query);
  char *uri = km_env_alloc(env, cap);
  if (uri == NULL) {
    return NULL;
  }
  /* Two slashes at its beginning would be taken for a host's. */
  size_t len = (size_t)snprintf(uri, cap, "file:%s", path[0] == '/' ? "//" : "");
  for (const char *p = path; *p != '\0'; p++) {
    bool plain = *p != '%' && *p != '?' && *p != '#';
    len += (size_t)snprintf(uri + len, cap - len, plain ? "%c" : "%%%02x", *p);
  }
  (void)snprintf(uri + len, cap - len, "%s", query);
  return uri;
}

static int connect_db(km_db *db, const char *name, int flags, km_errinfo *err) {
  int rc =
      sqlite3_open_v2(name, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  return rc == SQLITE_OK ? 0 : fail(db, rc, err);
}

static void disconnect(km_db *db) {
  (void)sqlite3_close(db->sqlite); /* busy only while statements are left */
  db->sqlite = NULL;
}

static int check_owner(km_db *db, const km_db_config *config, uint32_t id, int64_t version,
                       km_errinfo *err) {
  if (id != config->application_id) {
    return refuse(db, err, "belongs to another program; name another file");
  }
  if (version < 0 || (size_t)version > config->migration_count) {
    return refuse(db, err, "was made by a newer version of KeyMesh; use that one, or another file");
  }
  return 0;
}

static uint32_t big_endian(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The header as it stands in the file (sqlite.org/fileformat2.html section 1.3), read by hand:
 * without its WAL the rest may look damaged, when the last user was killed or the disk was full in
 * the middle of a checkpoint. */
static int check_header(km_db *db, const km_db_config *config, km_errinfo *err) {
  static const char magic[16] = "SQLite format 3";
  uint8_t header[100];
  sqlite3_file *file = NULL;
  int rc = sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc == SQLITE_OK) {
    rc = file->pMethods->xRead(file, header, sizeof header, 0);
  }
  if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) {
    return fail(db, rc, err);
  }
  if (rc != SQLITE_OK || memcmp(header, magic, sizeof magic) != 0) {
    return refuse(db, err, "is damaged, or is no database");
  }
  return check_owner(db, config, big_endian(header + 68), big_endian(header + 60), err);
}

/* Before anything may write: an ordinary connection changes a file already by looking at it, when
 * its last user was killed. */
static int look_at_file(km_db *db, const km_db_config *config, km_errinfo *err) {
  char *uri = make_uri(db->env, db->path, "?immutable=1");
  if (uri == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = connect_db(db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
  if (rv == 0) {
    rv = check_header(db, config, err);
  }
  disconnect(db);
  km_env_free(db->env, uri);
  return rv;
}

static int set_up(km_db *db, const km_db_config *config, km_errinfo *err) {
  (void)sqlite3_busy_timeout(db->sqlite, OPEN_WAIT_MS); /* always SQLITE_OK */
  int rc = sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  if (rc == SQLITE_OK) {
    rc = sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  }
  if (rc != SQLITE_OK) {
    return fail(db, rc, err);
  }
  char sql[256];
  (void)snprintf(sql, sizeof sql,
                 "PRAGMA locking_mode=%s;PRAGMA foreign_keys=ON;PRAGMA temp_store=MEMORY;"
                 "PRAGMA cell_size_check=ON;PRAGMA synchronous=%s",
                 config->exclusive ? "EXCLUSIVE" : "NORMAL", config->full_sync ? "FULL" : "NORMAL");
  int rv = km_db_exec(db, sql, err);
  if (rv == 0 && config->cache_kib > 0) {
    (void)snprintf(sql, sizeof sql, "PRAGMA cache_size=-%zu", config->cache_kib);
    rv = km_db_exec(db, sql, err);
  }
  return rv;
}

static int migrate_from(km_db *db, const km_db_config *config, int64_t version, km_errinfo *err) {
  int rv = 0;
  for (size_t i = (size_t)version; rv == 0 && i < config->migration_count; i++) {
    rv = km_db_exec(db, config->migrations[i], err);
  }
  char sql[96];
  (void)snprintf(sql, sizeof sql, "PRAGMA application_id=%ld;PRAGMA user_version=%zu",
                 (long)(int32_t)config->application_id, config->migration_count);
  return rv != 0 ? rv : km_db_exec(db, sql, err);
}

/* All steps in one transaction; another process may have been quicker. The header is written before
 * the first change to WAL, so that a file that is ours always says so. */
static int migrate_locked(km_db *db, const km_db_config *config, km_errinfo *err) {
  int64_t tables = 0, id = 0, version = 0;
  int rv = query_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
  if (rv == 0) {
    rv = query_int(db, "PRAGMA application_id", &id, err);
  }
  if (rv == 0) {
    rv = query_int(db, "PRAGMA user_version", &version, err);
  }
  if (rv == 0 && (tables > 0 || version != 0)) {
    rv = check_owner(db, config, (uint32_t)id, version, err);
  }
  if (rv == 0 && (size_t)version < config->migration_count) {
    rv = migrate_from(db, config, version, err);
  }
  return rv == 0 ? km_db_exec(db, "COMMIT", err) : rv;
}

static int migrate(km_db *db, const km_db_config *config, km_errinfo *err) {
  int rv = km_db_exec(db, "BEGIN EXCLUSIVE", err);
  if (rv != 0) {
    return rv;
  }
  rv = migrate_locked(db, config, err);
  if (rv != 0) {
    (void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL); /* fails where none is left */
  }
  return rv;
}

static int check_health(km_db *db, km_errinfo *err) {
  int64_t pages = 0, sound = 0;
  int rv = query_int(db, "PRAGMA page_count", &pages, err);
  if (rv != 0 || pages > CHECK_PAGES) {
    return rv;
  }
  rv = query_int(db, "SELECT count(*) FROM pragma_quick_check(1) WHERE quick_check = 'ok'", &sound,
                 err);
  return rv == 0 && sound == 0 ? refuse(db, err, "is damaged") : rv;
}

static int open_file(km_db *db, const km_db_config *config, km_errinfo *err) {
  bool empty = true;
  int rv = make_file(db, &empty, err);
  if (rv == 0 && !empty) {
    rv = look_at_file(db, config, err);
  }
  if (rv == 0) {
    rv = connect_db(db, db->path, SQLITE_OPEN_READWRITE, err);
  }
  if (rv == 0 && sqlite3_db_readonly(db->sqlite, "main") == 1) {
    rv = km_fail(err, KM_ERR_PERMISSION, "the database %s cannot be written: permission denied",
                 db->path);
  }
  return rv;
}

static int open_db(km_db *db, const km_db_config *config, km_errinfo *err) {
  int rv = config->path != NULL
               ? open_file(db, config, err)
               : connect_db(db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
  if (rv == 0) {
    rv = set_up(db, config, err);
  }
  if (rv == 0) {
    rv = migrate(db, config, err);
  }
  if (rv == 0) {
    rv = check_health(db, err);
  }
  if (rv == 0 && config->path != NULL) {
    /* Where the file system cannot have it, or another process is opening it at this moment, SQLite
     * stays with the journal it has. */
    rv = km_db_exec(db, "PRAGMA journal_size_limit=4194304;PRAGMA journal_mode=WAL", err);
    rv = rv == KM_ERR_STORE_BUSY ? 0 : rv;
  }
  if (rv == 0) {
    int wait_ms = config->wait_ms > 0 ? (int)config->wait_ms : WAIT_MS;
    (void)sqlite3_busy_timeout(db->sqlite, wait_ms); /* always SQLITE_OK */
  }
  return rv;
}

int km_db_open(km_db **ret, const km_db_config *config, km_errinfo *err) {
  km_db *db = km_env_zalloc(config->env, 1, sizeof *db);
  char *path = km_env_strdup(config->env, config->path != NULL ? config->path : "in memory");
  if (db == NULL || path == NULL) {
    km_env_free(config->env, db);
    km_env_free(config->env, path);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  db->env = config->env;
  db->path = path;
  int rv = open_db(db, config, err);
  if (rv != 0) {
    if (rv == KM_ERR_STORE_DAMAGED && db->sqlite != NULL) {
      (void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    km_db_close(db);
    return rv;
  }
  *ret = db;
  return 0;
}

void km_db_close(km_db *db) {
  if (db == NULL) {
    return;
  }
  for (km_db_stmt *s = db->stmts; s != NULL;) {
    km_db_stmt *next = s->next;
    (void)sqlite3_finalize(s->stmt); /* repeats the error of the last step */
    km_env_free(db->env, s);
    s = next;
  }
  disconnect(db);
  km_env_free(db->env, db->path);
  km_env_free(db->env, db);
}
