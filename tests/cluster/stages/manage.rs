//! Stages themselves: created, listed, dropped; where they may not be; what is told of their files.

use crate::support::cluster::{Cluster, Options};

use super::{Staged, lines, number, refused, run};

#[tokio::test(flavor = "multi_thread")]
async fn stages_come_and_go() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    staged.write("a.csv", "1\n");
    staged.write("dir/b.csv", "2\n");
    staged.write(".frazil-unload/c.csv", "3\n");
    let names = |lines: Vec<String>| {
        lines.into_iter().map(|l| l.rsplit("staged/").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(lines(cluster, "list @st", &["name"]).await), ["a.csv", "dir/b.csv"]);
    assert_eq!(names(lines(cluster, "ls @frazil.public.st/dir/", &["name"]).await), ["dir/b.csv"]);
    assert_eq!(names(lines(cluster, "list @st pattern = 'dir/.*[.]csv'", &["name"]).await), ["dir/b.csv"]);
    assert_eq!(lines(cluster, "show stages", &["name", "type"]).await, ["st|EXTERNAL"]);
    assert_eq!(refused(cluster, "create stage st").await.sql_state.as_deref(), Some("42710"));
    run(cluster, "create stage if not exists st").await;
    assert_eq!(lines(cluster, "show stages", &["name", "type"]).await, ["st|EXTERNAL"]);
    run(cluster, "create schema other").await;
    run(cluster, "create stage other.mine file_format = (type = json) comment = 'why'").await;
    assert_eq!(
        lines(cluster, "show stages in schema other", &["name", "type", "comment"]).await,
        ["mine|INTERNAL|why"]
    );
    assert!(
        lines(cluster, "desc stage other.mine", &["property", "property_value"])
            .await
            .contains(&"TYPE|JSON".to_owned())
    );
    assert_eq!(names(lines(cluster, "remove @st/dir/", &["name"]).await), ["dir/b.csv"]);
    assert!(!staged.directory.join("dir/b.csv").exists() && staged.directory.join("a.csv").exists());
    run(cluster, "drop stage st").await;
    assert!(staged.directory.join("a.csv").exists(), "files of a URL are somebody else's");
    assert_eq!(refused(cluster, "list @st").await.sql_state.as_deref(), Some("42704"));
    run(cluster, "drop stage if exists st").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_outside_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let allowed = directory.path().join("in");
    std::fs::create_dir_all(allowed.join("real")).expect("a directory");
    std::fs::write(directory.path().join("secret.csv"), "1\n").expect("a file");
    std::os::unix::fs::symlink(directory.path().join("secret.csv"), allowed.join("link.csv")).expect("a link");
    let mut options = Options::executors(1);
    options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), allowed.display().to_string()));
    let cluster = Cluster::start(options).await;
    run(&cluster, "create table t (a int)").await;
    run(&cluster, &format!("create stage inside url = '{}'", allowed.display())).await;
    for sql in [
        format!("create stage outside url = '{}'", directory.path().display()),
        "create stage outside url = 'http://169.254.169.254/latest'".to_owned(),
        "list @inside".to_owned(),
        "list @inside/../".to_owned(),
        "copy into t from @inside/../secret.csv".to_owned(),
        "copy into t from @inside/link.csv".to_owned(),
        "copy into t from @inside files = ('link.csv')".to_owned(),
        "copy into t from @inside files = ('../secret.csv')".to_owned(),
        format!("copy into t from '{}/secret.csv'", directory.path().display()),
        "remove @inside/link".to_owned(),
    ] {
        let refusal = refused(&cluster, &sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some("42501"), "{sql}: {refusal}");
    }
    assert_eq!(number(&cluster, "select count(*) from t").await, 0);
    assert!(directory.path().join("secret.csv").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_files_are_told() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    staged.write("a.csv", "id,name,price,day\n1,one,1.5,2024-01-01\n2,two,2,2024-01-02\n");
    staged.write("b.json", "{\"id\": 1, \"tags\": [\"x\"], \"f\": 1}\n{\"id\": 2, \"f\": 2.5, \"more\": null}\n");
    let columns = ["column_name", "type"];
    let sql = "select * from table(infer_schema(location => '@st/a.csv', file_format => (type => csv, parse_header => true))) order by order_id";
    assert_eq!(lines(cluster, sql, &columns).await, ["id|BIGINT", "name|VARCHAR", "price|DOUBLE", "day|DATE"]);
    let sql = "select * from TABLE(INFER_SCHEMA(LOCATION => '@st', FILES => ('b.json'), FILE_FORMAT => 'JSON')) as t order by column_name";
    assert_eq!(lines(cluster, sql, &columns).await, ["f|DOUBLE", "id|BIGINT", "more|VARCHAR", "tags|VARCHAR[]"]);
    let refusal = refused(cluster, "select * from table(infer_schema(location => '@st/nothing'))").await;
    assert!(refusal.message.contains("no files"), "{refusal}");
}
