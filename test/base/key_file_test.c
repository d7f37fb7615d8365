#include <dirent.h>
#include <fcntl.h>
#include <keymesh/id.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/base/test_env.h"
#include "test/base/vectors.h"

typedef struct fixture {
  char dir[64];
  char path[96];
  km_secret_key *key;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  memcpy(f->dir, "km-key-file-test.XXXXXX", 24);
  assert_non_null(mkdtemp(f->dir));
  assert_true(snprintf(f->path, sizeof f->path, "%s/key", f->dir) > 0);
  const char *secret = key_vectors[1].secret;
  assert_int_equal(km_secret_key_parse(&f->key, secret, strlen(secret), NULL), 0);
  *state = f;
  return 0;
}

static int entries_of(const char *path) {
  DIR *dir = opendir(path);
  assert_non_null(dir);
  int count = 0;
  const struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    count += entry->d_name[0] != '.';
  }
  assert_int_equal(closedir(dir), 0);
  return count;
}

static int tear_down(void **state) {
  fixture *f = *state;
  (void)unlink(f->path);              /* not every test leaves one */
  assert_int_equal(rmdir(f->dir), 0); /* fails where something was left behind */
  km_secret_key_free(f->key);
  free(f);
  return 0;
}

static void write_file(const char *path, const void *bytes, size_t len, mode_t mode) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
  assert_true(fd >= 0);
  assert_int_equal(fchmod(fd, mode), 0);
  assert_int_equal(write(fd, bytes, len), (ssize_t)len);
  assert_int_equal(close(fd), 0);
}

static void assert_load(const fixture *f, int expected, const char *part) {
  km_secret_key *key = NULL;
  km_errinfo err = {0};
  assert_int_equal(km_secret_key_load(&key, f->path, &err), expected);
  assert_int_equal(err.code, expected);
  if (expected == 0) {
    km_id ours;
    km_id theirs;
    km_secret_key_id(f->key, &ours);
    km_secret_key_id(key, &theirs);
    assert_true(km_id_equal(&ours, &theirs));
    km_secret_key_free(key);
  } else {
    assert_null(key);
    assert_non_null(strstr(err.text, part));
    assert_null(strstr(err.text, key_vectors[1].secret));
  }
}

static void a_saved_key_loads_and_is_private(void **state) {
  fixture *f = *state;
  mode_t old = umask(0);
  assert_int_equal(km_secret_key_save(f->key, f->path, NULL), 0);
  (void)umask(old);
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(st.st_nlink, 1);
  assert_int_equal(entries_of(f->dir), 1);
  assert_load(f, 0, NULL);
}

static void an_existing_file_is_never_overwritten(void **state) {
  fixture *f = *state;
  write_file(f->path, "precious", 8, 0600);
  km_errinfo err = {0};
  assert_int_equal(km_secret_key_save(f->key, f->path, &err), KM_ERR_FILE_EXISTS);
  assert_non_null(strstr(err.text, f->path));
  assert_int_equal(entries_of(f->dir), 1);
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_size, 8);
}

static void a_dangling_link_is_not_followed_when_saving(void **state) {
  fixture *f = *state;
  assert_int_equal(symlink("nowhere", f->path), 0);
  assert_int_equal(km_secret_key_save(f->key, f->path, NULL), KM_ERR_FILE_EXISTS);
  assert_int_equal(entries_of(f->dir), 1);
}

static void saving_names_what_is_wrong_with_the_path(void **state) {
  fixture *f = *state;
  km_errinfo err;
  char path[400];
  assert_true(snprintf(path, sizeof path, "%s/none/key", f->dir) > 0);
  assert_int_equal(km_secret_key_save(f->key, path, &err), KM_ERR_FILE_NOT_FOUND);
  assert_int_equal(err.code, KM_ERR_FILE_NOT_FOUND);
  assert_int_equal(km_secret_key_save(f->key, "", NULL), KM_ERR_FILE_NOT_FOUND);
  assert_int_equal(km_secret_key_save(f->key, f->dir, NULL), KM_ERR_FILE_EXISTS);
  memset(path, 'x', sizeof path - 1);
  path[sizeof path - 1] = '\0';
  int rv = km_secret_key_save(f->key, path, &err);
  assert_int_equal(rv, KM_ERR_IO); /* a name that is too long */
  assert_int_equal(err.code, rv);
}

static void every_form_loads_with_one_newline(void **state) {
  fixture *f = *state;
  for (int form = KM_KEY_HEX; form <= KM_KEY_PEM; form++) {
    for (int newlines = 0; newlines <= 2; newlines++) {
      char text[KM_SECRET_KEY_TEXT_CAP + 2];
      int len = km_secret_key_format(f->key, (km_key_form)form, text, KM_SECRET_KEY_TEXT_CAP);
      assert_true(len > 0);
      memset(text + len, '\n', 2);
      write_file(f->path, text, (size_t)(len + newlines), 0400);
      /* White space around PEM is no matter, around the others one newline is. */
      assert_load(f, newlines < 2 || form == KM_KEY_PEM ? 0 : KM_ERR_BAD_KEY_FILE, f->path);
      assert_int_equal(unlink(f->path), 0);
    }
  }
}

static void a_file_that_others_may_read_is_refused(void **state) {
  fixture *f = *state;
  static const struct {
    mode_t mode;
    bool ok;
  } cases[] = {{0600, true},  {0400, true},  {0700, true},  {0604, false}, {0640, false},
               {0620, false}, {0602, false}, {0610, false}, {0601, false}, {0644, false}};
  const char *secret = key_vectors[1].secret;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    write_file(f->path, secret, strlen(secret), cases[i].mode);
    assert_load(f, cases[i].ok ? 0 : KM_ERR_KEY_FILE_MODE, "chmod 600");
    assert_int_equal(unlink(f->path), 0);
  }
}

static void a_link_to_a_private_file_loads(void **state) {
  fixture *f = *state;
  char target[96];
  assert_true(snprintf(target, sizeof target, "%s/target", f->dir) > 0);
  const char *secret = key_vectors[1].secret;
  write_file(target, secret, strlen(secret), 0600);
  assert_int_equal(symlink("target", f->path), 0);
  assert_load(f, 0, NULL);
  assert_int_equal(chmod(target, 0644), 0);
  assert_load(f, KM_ERR_KEY_FILE_MODE, "chmod 600"); /* of the file, not of the link */
  assert_int_equal(unlink(target), 0);
  assert_load(f, KM_ERR_FILE_NOT_FOUND, f->path);
}

static void only_a_regular_file_of_sensible_size_is_read(void **state) {
  fixture *f = *state;
  assert_load(f, KM_ERR_FILE_NOT_FOUND, f->path);
  assert_int_equal(mkdir(f->path, 0700), 0);
  assert_load(f, KM_ERR_BAD_KEY_FILE, "regular");
  assert_int_equal(rmdir(f->path), 0);
  assert_int_equal(mkfifo(f->path, 0600), 0);
  assert_load(f, KM_ERR_BAD_KEY_FILE, "regular"); /* and does not wait for a writer */
  assert_int_equal(unlink(f->path), 0);
  write_file(f->path, "", 0, 0600);
  assert_load(f, KM_ERR_BAD_KEY_FILE, "empty");
  assert_int_equal(unlink(f->path), 0);
  char big[4097];
  memset(big, ' ', sizeof big);
  int len = km_secret_key_format(f->key, KM_KEY_PEM, big, sizeof big);
  assert_true(len > 0);
  big[len] = '\n';
  write_file(f->path, big, 4096, 0600);
  assert_load(f, 0, NULL);
  assert_int_equal(unlink(f->path), 0);
  write_file(f->path, big, 4097, 0600);
  assert_load(f, KM_ERR_BAD_KEY_FILE, "4096");
}

static void assert_child(int (*fn)(fixture *f), fixture *f) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(fn(f));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    skip();
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* As nobody: what root may do proves nothing. */
static int as_nobody(fixture *f) {
  if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
    return 77;
  }
  km_secret_key *key;
  km_errinfo err;
  if (km_secret_key_load(&key, f->path, &err) != KM_ERR_PERMISSION ||
      err.code != KM_ERR_PERMISSION) {
    return 1;
  }
  char path[128];
  (void)snprintf(path, sizeof path, "%s/new", f->dir); /* fits */
  return km_secret_key_save(f->key, path, &err) == KM_ERR_PERMISSION ? 0 : 2;
}

static void what_the_system_forbids_is_a_permission_error(void **state) {
  fixture *f = *state;
  if (geteuid() != 0) {
    skip();
  }
  const char *secret = key_vectors[1].secret;
  write_file(f->path, secret, strlen(secret), 0600);
  assert_int_equal(chmod(f->dir, 0755), 0);
  assert_child(as_nobody, f);
}

/* Neither the owner nor root, but able to open any file, as by an access control list: what the
 * mode says is not all. */
static int as_one_who_may_read_all(fixture *f) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct caps[2] = {{0}};
  caps[0].effective = caps[0].permitted = 1u << CAP_DAC_OVERRIDE;
  if (chown(f->path, 65534, 65534) != 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 ||
      setgid(65533) != 0 || setuid(65533) != 0 || syscall(SYS_capset, &header, caps) != 0) {
    return 77;
  }
  km_secret_key *key;
  km_errinfo err;
  if (km_secret_key_load(&key, f->path, &err) != KM_ERR_KEY_FILE_MODE) {
    return 1;
  }
  return strstr(err.text, "another user") != NULL ? 0 : 2;
}

static void a_file_of_another_user_is_refused(void **state) {
  fixture *f = *state;
  if (geteuid() != 0) {
    skip();
  }
  const char *secret = key_vectors[1].secret;
  write_file(f->path, secret, strlen(secret), 0600);
  assert_child(as_one_who_may_read_all, f);
}

/* In a mount namespace of its own, so that nothing stays mounted. */
static int on_a_full_disk(fixture *f) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") != 0 ||
      mount("none", f->dir, "tmpfs", 0, "size=4k,nr_inodes=16") != 0 || chdir(f->dir) != 0) {
    return 77;
  }
  char page[4096] = {0};
  int fd = open("filler", O_WRONLY | O_CREAT, 0600);
  if (fd < 0 || write(fd, page, sizeof page) != (ssize_t)sizeof page || close(fd) != 0) {
    return 77;
  }
  km_errinfo err;
  if (km_secret_key_save(f->key, "key", &err) != KM_ERR_NO_SPACE || err.code != KM_ERR_NO_SPACE) {
    return 1;
  }
  return entries_of(".") == 1 ? 0 : 2; /* the filler alone */
}

static void a_full_disk_leaves_nothing_behind(void **state) {
  fixture *f = *state;
  if (geteuid() != 0) {
    skip();
  }
  assert_child(on_a_full_disk, f);
}

int main(void) {
  /* Files go beside the test program's working directory, which the build owns. */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_saved_key_loads_and_is_private, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_existing_file_is_never_overwritten, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_dangling_link_is_not_followed_when_saving, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(saving_names_what_is_wrong_with_the_path, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_form_loads_with_one_newline, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_link_to_a_private_file_loads, set_up, tear_down),
      cmocka_unit_test_setup_teardown(only_a_regular_file_of_sensible_size_is_read, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(what_the_system_forbids_is_a_permission_error, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(a_file_of_another_user_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_full_disk_leaves_nothing_behind, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
