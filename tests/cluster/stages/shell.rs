//! `PUT` and `GET`, which the shell does.

use crate::support::cluster::binary;

use super::walk;

#[test]
fn files_are_put_and_got_by_the_shell() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path().join("files");
    std::fs::create_dir_all(files.join("back")).expect("a directory");
    std::fs::write(files.join("a.csv"), "1,one\n2,two\n").expect("a file");
    std::fs::write(files.join("b.csv"), "3,three\n").expect("a file");
    let shell = |sql: &str| {
        let output = std::process::Command::new(binary())
            .args(["sql", "--format", "csv", "--executors", "2", "--data"])
            .arg(directory.path().join("data"))
            .args(["-c", sql])
            .output()
            .expect("frazil starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), format!("{out}{err}"))
    };
    let script = format!(
        "create stage s; create table t (a int, b varchar); put file://{0}/*.csv @s/in; put file://{0}/a.csv @s/in; \
         put file://{0}/a.csv @s/plain auto_compress = false; list @s; copy into t from @s/in; \
         select count(*) as n, sum(a) as s from t; get @s/plain file://{0}/back/; remove @s/in; list @s; drop stage s",
        files.display()
    );
    let (good, shown) = shell(&script);
    assert!(good, "{shown}");
    for part in [
        "a.csv.gz",
        "UPLOADED",
        "SKIPPED",
        "s/in/b.csv.gz",
        "LOADED,2,2",
        "LOADED,1,1",
        "\n3,6\n",
        "DOWNLOADED",
        "removed",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    assert_eq!(std::fs::read(files.join("back/a.csv")).expect("it was fetched"), b"1,one\n2,two\n");
    let stages = directory.path().join("data/warehouse/.stages");
    let left = walk(&stages);
    assert!(left.is_empty(), "a dropped stage leaves {left:?}");
    let (good, shown) = shell("create stage s; put file:///nowhere/x.csv @s");
    assert!(!good && shown.contains("not found"), "{shown}");
    let (good, shown) = shell(&format!("put file://{}/a.csv @s/../out", files.display()));
    assert!(!good && shown.contains("42501"), "{shown}");
}
