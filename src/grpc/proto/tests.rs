//! Services out of `.proto` texts, and the places of mistakes in them.

use super::*;

const ECHO: &str = r#"syntax = "proto3";
option go_package = "google.golang.org/grpc/examples/features/proto/echo";

package grpc.examples.echo;

// EchoRequest is the request for echo.
message EchoRequest {
  string message = 1;
}

// EchoResponse is the response for echo.
message EchoResponse {
  string message = 1;
}

// Echo is the echo service.
service Echo {
  // UnaryEcho is unary echo.
  rpc UnaryEcho(EchoRequest) returns (EchoResponse) {}
  // ServerStreamingEcho is server side streaming.
  rpc ServerStreamingEcho(EchoRequest) returns (stream EchoResponse) {}
  // ClientStreamingEcho is client side streaming.
  rpc ClientStreamingEcho(stream EchoRequest) returns (EchoResponse) {}
  // BidirectionalStreamingEcho is bidi streaming.
  rpc BidirectionalStreamingEcho(stream EchoRequest) returns (stream EchoResponse) {}
}
"#;

const FANOUT: &str = r#"syntax = "proto3";

package example;

import "google/protobuf/empty.proto";

service FanoutService
{
  rpc FanoutServerStream(google.protobuf.Empty) returns (stream FanoutMessage);
}

message FanoutMessage
{
  string message = 1;
}
"#;

fn file(name: &str, text: &str) -> ProtoFile {
    ProtoFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn compile(files: &[ProtoFile]) -> Result<Services, Vec<String>> {
    compile_with(files, &[])
}

/// Compiles with what may be imported.
fn compile_with(files: &[ProtoFile], imports: &[(&str, &str)]) -> Result<Services, Vec<String>> {
    let mut import = |name: &str| {
        let (_, text) = imports.iter().find(|(known, _)| *known == name)?;
        Some((*text).to_owned())
    };
    Services::compile(files, &mut import)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn the_methods_of_a_file_are_known_with_what_streams() {
    let services = compile(&[file("echo.proto", ECHO), file("fanout.proto", FANOUT)]).unwrap();
    let names: Vec<_> = services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["grpc.examples.echo.Echo", "example.FanoutService"]);
    assert!(services.has_service("grpc.examples.echo.Echo"));
    let kinds = [
        ("UnaryEcho", MethodKind::Unary),
        ("ServerStreamingEcho", MethodKind::ServerStreaming),
        ("ClientStreamingEcho", MethodKind::ClientStreaming),
        ("BidirectionalStreamingEcho", MethodKind::Bidi),
    ];
    for (name, kind) in kinds {
        let method = services.method("grpc.examples.echo.Echo", name).unwrap();
        assert_eq!(method.kind, kind, "{name}");
        assert_eq!(method.input, "grpc.examples.echo.EchoRequest");
        assert_eq!(method.output, "grpc.examples.echo.EchoResponse");
        assert_eq!(&*method.service, "grpc.examples.echo.Echo");
    }
    let fanout = services
        .method("example.FanoutService", "FanoutServerStream")
        .unwrap();
    assert_eq!(fanout.input, "google.protobuf.Empty");
    assert_eq!(
        services.method("grpc.examples.echo.Echo", "unaryecho"),
        None
    );
    assert_eq!(services.method("Echo", "UnaryEcho"), None);
    assert!(!services.has_service("example"));
}

#[test]
fn files_import_each_other_in_any_order_and_from_elsewhere() {
    let service = r#"syntax = "proto3"; package a;
import "types.proto"; import "deep/more.proto"; import "google/protobuf/timestamp.proto";
service S { rpc M(b.T) returns (c.U); } message At { google.protobuf.Timestamp at = 1; }"#;
    let types =
        r#"syntax = "proto3"; package b; import "deep/more.proto"; message T { c.U u = 1; }"#;
    let more = r#"syntax = "proto3"; package c; import "deep/last.proto"; message U { L l = 1; } service Imported {}"#;
    let last = r#"syntax = "proto3"; package c; message L {}"#;
    let files = [file("service.proto", service), file("types.proto", types)];
    let imports = [("deep/more.proto", more), ("deep/last.proto", last)];
    let services = compile_with(&files, &imports).unwrap();
    assert_eq!(services.method("a.S", "M").unwrap().output, "c.U");
    assert!(!services.has_service("c.Imported"), "only imported");
    for known in [
        "service.proto",
        "types.proto",
        "deep/more.proto",
        "deep/last.proto",
        "google/protobuf/timestamp.proto",
    ] {
        assert!(
            services.descriptors().file_by_name(known).is_some(),
            "{known}"
        );
    }
    assert!(
        services
            .descriptors()
            .file_by_name("google/protobuf/any.proto")
            .is_none()
    );
}

#[test]
fn an_import_is_asked_for_once() {
    let importing = r#"syntax = "proto3"; import "x.proto";"#;
    let mut asked = Vec::new();
    let files = [file("a.proto", importing), file("b.proto", importing)];
    Services::compile(&files, &mut |name| {
        asked.push(name.to_owned());
        Some(r#"syntax = "proto3";"#.to_owned())
    })
    .unwrap();
    assert_eq!(asked, ["x.proto"]);
}

#[test]
fn names_of_files_need_not_look_like_paths_below_here() {
    for name in [
        "../protos/echo.proto",
        "/protos/echo.proto",
        "./echo.proto",
        "echo",
    ] {
        let services = compile(&[file(name, ECHO)]).unwrap();
        assert!(services.descriptors().file_by_name(name).is_some());
        assert!(services.has_service("grpc.examples.echo.Echo"), "{name}");
    }
}

#[test]
fn all_cores_may_share_them() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Services>();
}

#[test]
fn nothing_makes_no_services() {
    let services = compile(&[]).unwrap();
    assert_eq!(services.iter().count(), 0);
    assert_eq!(services.method("a", "b"), None);
}

#[test]
fn mistakes_of_all_files_have_their_places() {
    let broken = "syntax = \"proto3\";\nmessage M {\n  string a 1;\n}\n";
    let other = "syntax = \"proto3\";\n\nservice S { rpc }\n";
    let mistakes = compile(&[file("b.proto", broken), file("a.proto", other)]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("a.proto:3:17: expected"),
        "{mistakes:?}"
    );
    assert!(
        mistakes[1].starts_with("b.proto:3:12: expected"),
        "{mistakes:?}"
    );
}

#[test]
fn unknown_types_have_their_places() {
    let text = "syntax = \"proto3\";\nservice S {\n  rpc M(In) returns (Out);\n}\nmessage X { Missing m = 1; }\n";
    let mistakes = compile(&[file("a.proto", text)]).unwrap_err();
    assert_eq!(
        mistakes,
        [
            "a.proto:3:9: name 'In' is not defined",
            "a.proto:3:22: name 'Out' is not defined",
            "a.proto:5:13: name 'Missing' is not defined",
        ]
    );
}

#[test]
fn what_is_defined_twice_is_pointed_at_where_it_is_again() {
    let text = "syntax = \"proto3\";\nmessage M {}\n\nmessage M {}\n";
    let mistakes = compile(&[file("a.proto", text)]).unwrap_err();
    assert_eq!(mistakes, ["a.proto:4:9: name 'M' is defined twice"]);
    let mistakes = compile(&[file("a.proto", ECHO), file("b.proto", ECHO)]).unwrap_err();
    assert!(
        mistakes
            .iter()
            .any(|mistake| mistake.starts_with("b.proto:")),
        "{mistakes:?}"
    );
}

#[test]
fn an_import_that_is_missing_is_pointed_at_where_it_is_imported() {
    let text = "syntax = \"proto3\";\nimport \"gone.proto\";\n";
    let mistakes = compile(&[file("a.proto", text), file("b.proto", text)]).unwrap_err();
    assert_eq!(
        mistakes,
        [
            "a.proto:2:1: import 'gone.proto' not found",
            "b.proto:2:1: import 'gone.proto' not found",
        ]
    );
}

#[test]
fn a_mistake_in_an_import_is_told_once_and_in_that_file() {
    let text = "syntax = \"proto3\";\nimport \"x.proto\";\n";
    let files = [file("a.proto", text), file("b.proto", text)];
    let broken = "syntax = \"proto3\";\nmessage X { Y y = 1; }\n";
    let mistakes = compile_with(&files, &[("x.proto", broken)]).unwrap_err();
    assert_eq!(mistakes, ["x.proto:2:13: name 'Y' is not defined"]);
}

#[test]
fn circles_duplicates_and_endless_imports_are_mistakes() {
    let circle = [
        file("a.proto", "syntax = \"proto3\"; import \"b.proto\";"),
        file("b.proto", "syntax = \"proto3\"; import \"a.proto\";"),
    ];
    let mistakes = compile(&circle).unwrap_err();
    assert!(mistakes[0].contains("import cycle"), "{mistakes:?}");
    let twice = [file("a.proto", ECHO), file("a.proto", ECHO)];
    let mistakes = compile(&twice).unwrap_err();
    assert_eq!(mistakes, ["a.proto:1:1: there are two files of this name"]);
    let mut count = 0;
    let mut endless = |_: &str| {
        count += 1;
        Some(format!("syntax = \"proto3\"; import \"{count}.proto\";"))
    };
    let start = [file("a.proto", "syntax = \"proto3\"; import \"0.proto\";")];
    let mistakes = Services::compile(&start, &mut endless).unwrap_err();
    assert!(
        mistakes[0].message.contains("more than 1000"),
        "{mistakes:?}"
    );
}

#[test]
fn a_file_is_found_by_all_that_is_in_it() {
    let text = r#"syntax = "proto2"; package p;
message Outer { message Inner { optional int32 deep = 1; } oneof choice { string one = 1; } extensions 100 to 200; }
enum Colour { RED = 0; }
extend Outer { optional string extra = 101; optional string more = 100; }
service S { rpc M(Outer) returns (Outer.Inner); }"#;
    let services = compile(&[file("p.proto", text)]).unwrap();
    let descriptors = services.descriptors();
    let whole = descriptors.file_by_name("p.proto").unwrap();
    for symbol in [
        "p.Outer",
        "p.Outer.Inner",
        "p.Outer.Inner.deep",
        "p.Outer.choice",
        "p.Outer.one",
        "p.Colour",
        "p.RED",
        "p.extra",
        "p.S",
        "p.S.M",
    ] {
        assert_eq!(
            descriptors.file_with_symbol(symbol),
            Some(whole),
            "{symbol}"
        );
    }
    for symbol in [
        "",
        ".",
        "p",
        "p.S.N",
        "p.Outer.none",
        "RED",
        "p.Colour.GREEN",
    ] {
        assert_eq!(descriptors.file_with_symbol(symbol), None, "{symbol}");
    }
    assert_eq!(descriptors.file_with_extension("p.Outer", 101), Some(whole));
    assert_eq!(descriptors.file_with_extension("p.Outer", 1), None);
    assert_eq!(descriptors.file_with_extension("p.Outer", -1), None);
    assert_eq!(
        descriptors.extension_numbers("p.Outer"),
        Some(vec![100, 101])
    );
    assert_eq!(descriptors.extension_numbers("p.None"), None);
}

#[test]
fn a_text_that_breaks_off_anywhere_has_a_mistake_within_it_or_none() {
    let lines = ECHO.lines().count();
    for end in (0..ECHO.len()).step_by(13) {
        let cut = file("echo.proto", &ECHO[..end]);
        if let Err(mistakes) = Services::compile(&[cut], &mut |_| None) {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert_eq!(mistake.file, "echo.proto");
                assert!((1..=lines).contains(&mistake.line), "{end}: {mistake}");
            }
        }
    }
}
