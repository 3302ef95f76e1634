//! Commands of another user than root.

use std::fs;

use crate::process::until;
use crate::support::{ENVIRONMENT, Home};
use crate::tree::{assert_changes, str_of};

#[test]
fn a_workspace_is_its_users() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("dir")).unwrap();
    fs::write(seed.join("dir/old"), "old\n").unwrap();
    std::os::unix::fs::symlink("dir/old", seed.join("link")).unwrap();
    let seed = seed.to_str().unwrap();
    let created =
        home.json(["workspace", "create", ENVIRONMENT, "--seed-path", seed, "--user", "www-data"]);
    let id = str_of(&created, "workspace_id");
    assert_eq!(created["user"], "www-data");

    let who = "id; echo $HOME $USER $LOGNAME; grep -E '^(CapEff|CapPrm)' /proc/self/status";
    let told = home.sh(id, who);
    assert!(told.starts_with("uid=33(www-data) gid=33(www-data) groups=33(www-data)\n"), "{told}");
    assert!(told.contains("/var/www www-data www-data\n"), "{told}");
    assert_eq!(told.matches("0000000000000000").count(), 2, "{told}");
    // Nothing was changed by giving it away.
    assert_changes(&home.json(["workspace", "diff", id]), &[]);

    let pushed = home.scratch("pushed");
    fs::create_dir_all(pushed.join("new")).unwrap();
    fs::write(pushed.join("new/file"), "pushed\n").unwrap();
    std::os::unix::fs::symlink("new/file", pushed.join("newlink")).unwrap();
    home.ok(["workspace", "sync", "push", id, pushed.to_str().unwrap(), "--dest", "a/b"]);
    let theirs = "find . ! -user www-data -o ! -group www-data; \
        echo more >> dir/old; echo more >> a/b/new/file; mkdir made; touch a/x made/y; rm link; \
        echo out > /dev/stdout; ! touch /etc/x 2>/dev/null; id -u > made/uid";
    assert_eq!(home.sh(id, theirs), "out\n");
    let wanted = [
        ("a", "added"),
        ("a/b", "added"),
        ("a/b/new", "added"),
        ("a/b/new/file", "added"),
        ("a/b/newlink", "added"),
        ("a/x", "added"),
        ("dir/old", "modified"),
        ("link", "deleted"),
        ("made", "added"),
        ("made/uid", "added"),
        ("made/y", "added"),
    ];
    assert_changes(&home.json(["workspace", "diff", id]), &wanted);

    // Others when they are asked for, and by numbers that no table has.
    let as_user = |user: &str| {
        home.ok(["workspace", "exec", id, "--user", user, "--", "sh", "-c", "id -u; id -g; id -G"])
    };
    assert_eq!(as_user("root"), "0\n0\n0\n");
    assert_eq!(as_user("4242:7"), "4242\n7\n7\n");
    assert_eq!(as_user("www-data:adm"), "33\n4\n4\n");
    for (user, why) in [("nobody-such", "no user 'nobody-such'"), ("0:none", "no group 'none'")] {
        let (code, error) = home.fails(["workspace", "exec", id, "--user", user, "--", "true"]);
        assert_eq!((code, str_of(&error, "code")), (125, "invalid_argument"), "{error}");
        assert!(str_of(&error, "message").contains(why), "{error}");
        let (_, error) = home.fails(["workspace", "shell", "open", id, "--user", user]);
        assert!(str_of(&error, "message").contains(why), "{error}");
    }
    // None of these is a command that ran.
    let logs = home.json(["workspace", "logs", id]);
    assert_eq!(logs["entries"].as_array().unwrap().len(), 5, "{logs}");
    assert_eq!(logs["running"].as_array().unwrap().len(), 0, "{logs}");

    let shell = home.ok(["workspace", "shell", "open", id, "--id-only"]).trim().to_owned();
    let line = "id -un; tty | xargs stat -c %U; : >> $(tty); echo en''d";
    home.ok(["workspace", "shell", "write", id, &shell, "--input", line]);
    let mut printed = String::new();
    until("the shell answers", || {
        let read = home.json(["workspace", "shell", "read", id, &shell, "--plain"]);
        printed = str_of(&read, "output").to_owned();
        printed.contains("\nend")
    });
    assert!(printed.contains("\nwww-data\nwww-data\nend"), "{printed}");

    // It stays theirs.
    home.ok(["workspace", "stop", id]);
    home.ok(["workspace", "start", id]);
    let again = "id -un; find . ! -user www-data; echo again >> dir/old; cat made/uid";
    assert_eq!(home.sh(id, again), "www-data\n33\n");
    let fork = home.json(["workspace", "fork", id]);
    assert_eq!(home.sh(str_of(&fork, "workspace_id"), "id -un; echo x > made/z"), "www-data\n");
    home.ok(["workspace", "reset", id]);
    assert_eq!(home.sh(id, "id -un; find . ! -user www-data; echo new > dir/new"), "www-data\n");
    assert_changes(&home.json(["workspace", "diff", id]), &[("dir/new", "added")]);
}

#[test]
fn a_user_that_the_environment_does_not_have_makes_no_workspace() {
    let home = Home::new();
    for user in ["nobody-such", "nobody:no-group"] {
        let (code, error) = home.fails(["workspace", "create", ENVIRONMENT, "--user", user]);
        assert_eq!((code, str_of(&error, "code")), (2, "invalid_argument"), "{error}");
    }
    let (_, error) = home.fails(["run", ENVIRONMENT, "--user", "", "--", "true"]);
    assert!(str_of(&error, "message").contains("is no user"), "{error}");
    until("nothing is left", || {
        home.json(["workspace", "list"])["workspaces"].as_array().unwrap().is_empty()
    });
    assert_eq!(home.ok(["run", ENVIRONMENT, "--user", "nobody", "--", "id", "-un"]), "nobody\n");
}
