//! Environments from OCI images.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::{Flaky, Registry, image, skopeo, umoci};
use crate::support::{ENVIRONMENT, Home, told};
use crate::tree::str_of;

/// A system of one program: `/bin/hello` greets and ends with 3.
fn tiny(root: &Path) {
    let source = root.join("hello.c");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 3; }\n")
        .unwrap();
    let program = root.join("bin/hello");
    let compiled = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source).status();
    assert!(compiled.unwrap().success());
    fs::remove_file(source).unwrap();
}

/// Bytes that no compression makes smaller, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"noise");
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// That no environment came from outside, and nothing of one is left.
fn assert_nothing_left(home: &Home) {
    let listed = home.json(["env", "list"]);
    let environments = listed["environments"].as_array().unwrap();
    assert!(environments.iter().all(|it| str_of(it, "name").starts_with("debian:12")), "{listed}");
    assert_eq!(home.json(["store", "list"])["baselines"], json!([]));
    let blobs = fs::read_dir(home.path().join("cache/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}

#[test]
fn images_of_a_registry_run_share_their_files_and_are_not_fetched_twice() {
    let home = Home::with_own_environments();
    let detail = home.json(["env", "inspect", ENVIRONMENT]);
    let layout = image(&home.scratch("image"), |root| {
        let extract = format!("--extract={}", root.display());
        let unpacked = Command::new("fsck.erofs")
            .args([&extract, "--overwrite", str_of(&detail, "root_image")])
            .output();
        assert!(unpacked.unwrap().status.success());
    });
    let (first, second) = (format!("{layout}:first"), format!("{layout}:second"));
    umoci(&["config", "--image", &first, "--config.env", "GREETING=hello"]);
    umoci(&["config", "--image", &first, "--config.cmd", "python3", "--config.cmd=-V"]);
    let above = home.scratch("above");
    umoci(&["unpack", "--image", &first, above.to_str().unwrap()]);
    fs::write(above.join("rootfs/etc/added"), "added\n").unwrap();
    fs::remove_file(above.join("rootfs/usr/bin/less")).unwrap();
    umoci(&["repack", "--image", &second, above.to_str().unwrap()]);

    umoci(&["config", "--image", &second, "--config.user", "www-data:adm"]);
    umoci(&["config", "--image", &second, "--config.workingdir", "/var/tmp"]);
    umoci(&["config", "--image", &second, "--clear=config.cmd", "--config.entrypoint", "pwd"]);

    let registry = Registry::start(&home.scratch("registry"), "");
    let one = registry.push(&first, "python:1", &[]);
    let two = registry.push(&second, "python:2", &[]);
    home.ok(["env", "pull", &one]);
    let served = registry.blobs_served();
    assert_eq!(served, 2, "a configuration and a layer");
    let pulled = home.json(["env", "pull", &one]);
    assert_eq!(registry.blobs_served(), served, "nothing is fetched that is there");
    assert_eq!(home.ok(["run", &one, "--", "python3", "-V"]), home.ok(["run", &one]));
    assert!(home.ok(["run", &one]).starts_with("Python 3."));
    assert_eq!(home.ok(["run", &one, "--", "sh", "-c", "echo $GREETING"]), "hello\n");
    // By its digest it is the same.
    let by_digest =
        format!("{}@{}", one.trim_end_matches(":1"), str_of(&pulled["origin"], "manifest"));
    let same = home.json(["env", "pull", &by_digest]);
    assert_eq!(same["origin"]["baseline"], pulled["origin"]["baseline"]);
    home.ok(["env", "remove", &by_digest]);

    // The second image adds what it adds, and no more.
    let before = home.json(["store", "stats"]);
    home.ok(["env", "pull", &two]);
    let after = home.json(["store", "stats"]);
    let grown = |what: &str| after[what].as_u64().unwrap() - before[what].as_u64().unwrap();
    assert_eq!(grown("chunk_count"), 1, "{before} {after}");
    assert!(grown("baseline_bytes") > 100 << 20, "{before} {after}");
    let look = "cat /etc/added; test ! -e /usr/bin/less; test -e /usr/bin/git; id -u; id -g";
    assert_eq!(home.ok(["run", &two, "--", "sh", "-ec", look]), "added\n33\n4\n");
    // Its own program, in its own directory; anything else runs in the workspace.
    assert_eq!(home.ok(["run", &two]), "/var/tmp\n");
    assert_eq!(
        home.ok(["run", &two, "--user", "root", "--", "sh", "-c", "pwd; id -u"]),
        "/workspace\n0\n"
    );

    // A fork is its source's user's, not the image's.
    let created = home.json(["workspace", "create", &two, "--user", "root"]);
    let id = str_of(&created, "workspace_id");
    let fork = home.json(["workspace", "fork", id]);
    assert_eq!(home.sh(str_of(&fork, "workspace_id"), "id -u"), "0\n");
    home.ok(["workspace", "delete", id]);
    home.ok(["workspace", "delete", str_of(&fork, "workspace_id")]);

    // The image is made again when it was thrown away; a workspace keeps its own.
    let created = home.json(["workspace", "create", &one]);
    let id = str_of(&created, "workspace_id");
    home.ok(["env", "prune", "--images"]);
    let image = |name: &str| str_of(&home.json(["env", "inspect", name]), "root_image").to_owned();
    assert!(Path::new(&image(&one)).exists());
    assert_eq!(home.json(["env", "inspect", &two])["root_image"], Value::Null);
    assert_eq!(home.ok(["run", &two, "--", "sh", "-ec", look]), "added\n33\n4\n");
    home.ok(["env", "remove", &one]);
    home.ok(["workspace", "stop", id]);
    home.ok(["workspace", "start", id]);
    assert_eq!(home.sh(id, "python3 -V >/dev/null; echo $GREETING"), "hello\n");
    home.ok(["workspace", "delete", id]);
    home.ok(["env", "remove", &two]);
    home.ok(["env", "prune"]);
    assert_nothing_left(&home);
}

#[test]
fn the_first_environment_of_all_brings_a_kernel() {
    let home = Home::with_own_environments();
    let environments = home.path().join("environments");
    fs::remove_dir_all(&environments).unwrap();
    let dir = home.scratch("dir");
    fs::create_dir(&dir).unwrap();
    tiny(&dir);
    let made = home.json(["env", "create", "made", "--from-dir", dir.to_str().unwrap()]);
    assert!(!str_of(&made, "kernel").is_empty(), "{made}");
    assert_eq!(home.output(["run", "made", "--", "/bin/hello"]).stdout, b"hello\n");
    let kernels = || fs::read_dir(environments.join("kernels")).unwrap().count();
    assert_eq!((kernels(), fs::read_dir(environments.join("tmp")).unwrap().count()), (1, 0));
}

#[test]
fn pyros_own_environments_come_from_a_registry_that_has_them() {
    let home = Home::with_own_environments();
    let layout = image(&home.scratch("image"), tiny);
    let registry = Registry::start(&home.scratch("registry"), "");
    registry.push(&format!("{layout}:first"), "team/debian:12-base", &[]);
    home.ok(["daemon", "stop"]);
    let place = format!("{}/team/", registry.address);
    // What it warns of, and what there is then.
    let pull = |name: &str| {
        let mut command = home.command(["env", "pull", name]);
        let output = command.env("PYRO_ENV_REGISTRY", &place).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let warned = String::from_utf8(output.stderr).unwrap();
        (warned.contains("built from packages"), home.json(["env", "inspect", name]))
    };
    let (warned, first) = pull("debian:12-base");
    assert!(!warned);
    assert_eq!(first["name"], "debian:12-base");
    assert_eq!(first["origin"]["source"], format!("{place}debian:12-base"));
    assert_eq!(home.output(["run", "debian:12-base", "--", "/bin/hello"]).stdout, b"hello\n");
    let served = registry.blobs_served();
    assert_eq!(pull("debian:12-base"), (false, first.clone()));
    assert_eq!(registry.blobs_served(), served, "nothing is fetched that is there");

    // What it does not have is what was built, and the caller is told.
    let (warned, other) = pull("debian:12");
    assert!(warned && other["origin"].is_null(), "{other}");

    // Nor is a registry needed for what is there, the image made anew included.
    drop(registry);
    let image = str_of(&first, "root_image");
    home.ok(["env", "prune", "--images"]);
    assert!(!Path::new(image).exists());
    assert_eq!(pull("debian:12-base"), (true, first.clone()));
    assert!(Path::new(image).exists());
}

#[test]
fn private_images_take_the_users_docker_credentials() {
    let home = Home::with_own_environments();
    let layout = image(&home.scratch("image"), tiny);
    let passwords = home.scratch("passwords");
    let made = Command::new("htpasswd")
        .args(["-Bbc", passwords.to_str().unwrap(), "me", "secret"])
        .output();
    assert!(made.expect("htpasswd, of apache2-utils, is installed").status.success());
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", passwords.display());
    let registry = Registry::start(&home.scratch("registry"), &auth);
    let reference =
        registry.push(&format!("{layout}:first"), "tiny:1", &["--dest-creds", "me:secret"]);

    let (code, error) = home.fails(["env", "pull", &reference]);
    assert_eq!((code, str_of(&error, "code")), (5, "registry_failed"));
    assert!(str_of(&error, "message").contains("anonymous"), "{error}");
    assert!(str_of(&error, "hint").contains("docker login"), "{error}");

    // Credentials are the daemon's user's: it is started with them.
    home.ok(["daemon", "stop"]);
    let config = home.scratch("docker");
    fs::create_dir(&config).unwrap();
    let with = |user: &str| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let auths = json!({"auths": {&registry.address: {"auth": STANDARD.encode(user)}}});
        fs::write(config.join("config.json"), auths.to_string()).unwrap();
        home.command(["env", "pull", &reference]).env("DOCKER_CONFIG", &config).output().unwrap()
    };
    let wrong = with("me:wrong");
    assert_eq!(wrong.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("this user"), "{wrong:?}");
    assert_nothing_left(&home);
    assert!(with("me:secret").status.success());
    let output = home.output(["run", &reference, "--", "/bin/hello"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"hello\n"[..]));
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_was() {
    let home = Home::with_own_environments();
    let size = 6 << 20;
    let layout = image(&home.scratch("image"), |root| {
        tiny(root);
        fs::write(root.join("noise"), noise(size)).unwrap();
    });
    let registry = Registry::start(&home.scratch("registry"), "");
    registry.push(&format!("{layout}:first"), "tiny:1", &[]);
    // More breaks without progress than are forgiven, then fewer.
    let flaky = Flaky::before(&registry.address, size / 3, 2);
    let reference = format!("{}/tiny:1", flaky.address);
    home.ok(["env", "pull", &reference]);
    assert!(flaky.passed() < size + size / 2, "{} bytes were fetched", flaky.passed());
    assert_eq!(home.output(["run", &reference, "--", "/bin/hello"]).stdout, b"hello\n");

    // Broken off for good, the next attempt has what there was.
    let flaky = Flaky::before(&registry.address, size / 3, usize::MAX);
    let reference = format!("{}/tiny:1", flaky.address);
    let mut fetched = 0;
    let mut attempts = 0;
    loop {
        attempts += 1;
        if home.output(["env", "pull", &reference]).status.success() {
            break;
        }
        assert!(flaky.passed() > fetched && attempts < 10, "no progress");
        fetched = flaky.passed();
    }
    assert!(flaky.passed() < size + size / 2, "{} bytes were fetched", flaky.passed());
}

#[test]
fn image_files_and_directories_are_environments_too() {
    let home = Home::with_own_environments();
    let layout = image(&home.scratch("image"), tiny);
    let first = format!("oci:{layout}:first");
    let (docker, tar) = (home.scratch("docker.tar"), home.scratch("oci.tar"));
    skopeo(&["copy", "-q", &first, &format!("docker-archive:{}:tiny:1", docker.display())]);
    skopeo(&["copy", "-q", &first, &format!("oci-archive:{}:1", tar.display())]);
    let import = |path: &Path, name: &str| {
        home.json(["env", "import", path.to_str().unwrap(), "--name", name])["origin"]["baseline"]
            .clone()
    };
    let baseline = import(&docker, "docker");
    assert_eq!(import(&tar, "tar"), baseline);
    assert_eq!(import(Path::new(&layout), "layout"), baseline);
    let listed = home.json(["store", "list"]);
    assert_eq!(listed["baselines"].as_array().unwrap().len(), 1, "{listed}");
    // What environments are made of cannot be deleted under them.
    let (_, error) = home.fails(["store", "delete", baseline.as_str().unwrap()]);
    assert!(str_of(&error, "message").contains("environment"), "{error}");

    // Without a shell commands run by their names, and what needs one says so.
    let output = home.output(["run", "docker", "--", "/bin/hello"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"hello\n"[..]));
    assert_eq!(home.output(["run", "docker", "--", "sh", "-c", "true"]).status.code(), Some(127));
    let (_, error) = home.fails(["run", "docker"]);
    assert!(str_of(&error, "message").contains("no program of its own"), "{error}");
    let created = home.json(["workspace", "create", "docker"]);
    let (_, error) = home.fails(["workspace", "shell", "open", str_of(&created, "workspace_id")]);
    assert!(str_of(&error, "message").contains("/bin/sh"), "{error}");

    let dir = home.scratch("dir");
    fs::create_dir(&dir).unwrap();
    tiny(&dir);
    fs::hard_link(dir.join("bin/hello"), dir.join("bin/again")).unwrap();
    home.ok(["env", "create", "made", "--from-dir", dir.to_str().unwrap()]);
    assert_eq!(home.output(["run", "made", "--", "/bin/again"]).stdout, b"hello\n");

    for (args, why) in [
        (["env", "import", "/etc/passwd", "--name", "x"], "tar file"),
        (["env", "import", "/nonexistent", "--name", "x"], "/nonexistent"),
        (["env", "import", docker.to_str().unwrap(), "--name", "debian:12"], "another name"),
        (["env", "import", docker.to_str().unwrap(), "--name", "../x"], "name"),
        (["env", "create", "x", "--from-dir", "/etc/passwd"], "no directory"),
    ] {
        let (_, error) = home.fails(args);
        assert!(str_of(&error, "message").contains(why), "{error}");
    }
    let (_, error) = home.fails(["env", "remove", "debian:12"]);
    assert_eq!(str_of(&error, "code"), "unknown_environment");
}

/// Answers every request with the document that `answer` has for its path.
fn serve(answer: impl Fn(&str) -> Option<(String, Vec<u8>)> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|len| len > 0)
            {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let head = request.starts_with("HEAD");
            let (status, kind, body) = match answer(path) {
                Some((kind, body)) => ("200 OK", kind, body),
                None => ("404 Not Found", "application/json".to_owned(), b"{}".to_vec()),
            };
            let digest = format!("sha256:{}", hex(&body));
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
                 Docker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            if !head {
                let _ = stream.write_all(&body);
            }
        }
    });
    address
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A registry with one image, of one layer; `served` is what it sends in place of the layer.
fn registry_of(architecture: &str, layer: Vec<u8>, served: Vec<u8>) -> String {
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
    })
    .to_string()
    .into_bytes();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", hex(&config)), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{}", hex(&layer)), "size": layer.len(),
        }],
    })
    .to_string()
    .into_bytes();
    let config_path = format!("/blobs/sha256:{}", hex(&config));
    serve(move |path| {
        if path.ends_with("/v2/") {
            Some(("application/json".to_owned(), b"{}".to_vec()))
        } else if path.contains("/manifests/") {
            Some((kind.to_owned(), manifest.clone()))
        } else if path.ends_with(&config_path) {
            Some(("application/octet-stream".to_owned(), config.clone()))
        } else {
            Some(("application/octet-stream".to_owned(), served.clone()))
        }
    })
}

/// An archive of one file with this name, as it is.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, content).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn what_is_hostile_or_not_what_it_says_leaves_nothing() {
    let home = Home::with_own_environments();
    let refused = |address: &str, code: &str, why: &str| {
        let (_, error) = home.fails(["env", "pull", &format!("{address}/x:1")]);
        assert_eq!(str_of(&error, "code"), code, "{error}");
        assert!(str_of(&error, "message").contains(why), "{error}");
        assert_nothing_left(&home);
    };
    let good = archive("file", b"content");
    let lie = archive("file", b"CONTENT");
    refused(&registry_of("amd64", good.clone(), lie), "bad_image", "digest");
    refused(
        &registry_of("amd64", good.clone(), [good.clone(), vec![0]].concat()),
        "bad_image",
        "longer",
    );
    refused(&registry_of("arm64", good.clone(), good.clone()), "unsupported", "linux/arm64");
    for name in ["../up", "/etc/passwd", "a/../../b"] {
        let layer = archive(name, b"");
        refused(&registry_of("amd64", layer.clone(), layer), "bad_archive", name);
    }
    let cut = good[..515].to_vec();
    refused(&registry_of("amd64", cut.clone(), cut), "bad_archive", "truncated");
    refused("localhost:1", "registry_failed", "localhost:1");
    refused(&serve(|_| None), "unknown_environment", "no image");
    refused(&serve(|_| Some(("text/html".into(), b"<p>hello".to_vec()))), "registry_failed", "");
    let (code, error) = home.fails(["env", "pull", "Not A Reference"]);
    assert_eq!((code, str_of(&error, "code")), (2, "invalid_argument"));
}
