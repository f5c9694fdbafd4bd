//! What a client finds out by asking.

use protox::prost_reflect::prost_types::FileDescriptorProto;

use super::super::health;
use super::super::proto::ProtoFile;
use super::*;

const OWN: [&str; 3] = [health::SERVICE, SERVICE_V1, SERVICE_V1ALPHA];

fn services() -> Services {
    let text = r#"syntax = "proto3"; package example; import "google/protobuf/empty.proto";
// Said to those who are interested.
service FanoutService { rpc FanoutServerStream(google.protobuf.Empty) returns (stream FanoutMessage); }
message FanoutMessage { string message = 1; }"#;
    let file = ProtoFile {
        name: "fanout.proto".to_owned(),
        text: text.to_owned(),
    };
    Services::compile(&[file], &mut |_| None).unwrap()
}

fn ask(question: Question) -> Answer {
    let request = ServerReflectionRequest {
        host: "gateway".to_owned(),
        question: Some(question),
    };
    let answer = answer(&services(), &OWN, &request.encode_to_vec());
    let response = ServerReflectionResponse::decode(&answer[..]).unwrap();
    assert_eq!(response.original_request, Some(request));
    assert_eq!(response.valid_host, "gateway");
    response.answer.unwrap()
}

fn file(answer: &Answer) -> FileDescriptorProto {
    let Answer::FileDescriptor(response) = answer else {
        panic!("{answer:?}");
    };
    let [file] = &response.file_descriptor_proto[..] else {
        panic!("{response:?}");
    };
    FileDescriptorProto::decode(file.clone()).unwrap()
}

fn error_code(answer: &Answer) -> i32 {
    match answer {
        Answer::Error(error) => error.error_code,
        Answer::FileDescriptor(_) | Answer::AllExtensionNumbers(_) | Answer::ListServices(_) => {
            panic!("{answer:?}")
        }
    }
}

#[test]
fn all_services_are_listed() {
    let Answer::ListServices(list) = ask(Question::ListServices("*".to_owned())) else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert_eq!(
        names,
        [
            "example.FanoutService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection"
        ]
    );
}

#[test]
fn a_service_leads_to_its_file_and_that_to_its_imports() {
    let found = file(&ask(Question::FileContainingSymbol(
        "example.FanoutService".to_owned(),
    )));
    assert_eq!(found.name(), "fanout.proto");
    assert_eq!(found.dependency, ["google/protobuf/empty.proto"]);
    assert_eq!(
        found.service[0].method[0].input_type(),
        ".google.protobuf.Empty"
    );
    assert_eq!(found.source_code_info, None);
    let imported = file(&ask(Question::FileByFilename(found.dependency[0].clone())));
    assert_eq!(imported.message_type[0].name(), "Empty");
}

#[test]
fn the_gateways_own_services_can_be_described() {
    for (service, file_name) in OWN.into_iter().zip([
        "grpc/health/v1/health.proto",
        "grpc/reflection/v1/reflection.proto",
        "grpc/reflection/v1alpha/reflection.proto",
    ]) {
        let found = file(&ask(Question::FileContainingSymbol(service.to_owned())));
        assert_eq!(found.name(), file_name);
        let by_name = ask(Question::FileByFilename(file_name.to_owned()));
        assert_eq!(file(&by_name), found);
    }
}

#[test]
fn what_is_not_there_is_said_not_to_be() {
    let not_found = i32::from(Code::NOT_FOUND.0);
    for question in [
        Question::FileByFilename("gone.proto".to_owned()),
        Question::FileContainingSymbol("example.Gone".to_owned()),
        Question::FileContainingExtension(ExtensionRequest {
            containing_type: "example.FanoutMessage".to_owned(),
            extension_number: 7,
        }),
        Question::AllExtensionNumbersOfType("example.Gone".to_owned()),
    ] {
        assert_eq!(error_code(&ask(question)), not_found);
    }
    let none = ask(Question::AllExtensionNumbersOfType(
        "example.FanoutMessage".to_owned(),
    ));
    let Answer::AllExtensionNumbers(none) = none else {
        panic!("{none:?}");
    };
    assert_eq!(none.base_type_name, "example.FanoutMessage");
    assert!(none.extension_number.is_empty());
}

#[test]
fn what_cannot_be_read_is_answered_too() {
    for broken in [&b""[..], b"\x3a", b"\xff\xff", b"\x10\x01"] {
        let answer = answer(&services(), &OWN, broken);
        let response = ServerReflectionResponse::decode(&answer[..]).unwrap();
        let code = error_code(&response.answer.unwrap());
        assert_eq!(code, i32::from(Code::INVALID_ARGUMENT.0), "{broken:?}");
    }
}

#[test]
fn the_messages_are_as_published() {
    // list_services of grpcurl, and its answer, by hand.
    let nothing = Services::default();
    let answer = answer(&nothing, &["a.B"], b"\x3a\x01*");
    assert_eq!(answer, b"\x12\x03\x3a\x01*\x32\x07\x0a\x05\x0a\x03a.B");
}
