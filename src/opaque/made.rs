//! Identifiers that an answer gives to what it made.
//!
//! Answers are read by their structure, because parts of them repeat what the
//! client wrote: only fields that the provider itself fills are looked into.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The kinds of things that are found elsewhere than where they are made.
const FILES: &str = "files";
const THREADS: &str = "threads";
const RESPONSES: &str = "responses";
const CONTAINERS: &str = "containers";
const MODELS: &str = "models";

/// Where an answer comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'o> {
    /// The root of the API that was asked, such as `files`.
    pub kind: &'o str,
    /// The thing that was asked about, if one was.
    pub whole: Option<&'o str>,
    /// Whether it lists parts of that thing.
    pub items: bool,
}

/// A thing that an answer made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its identifier.
    pub id: String,
    /// The root of the API that it is found under.
    pub kind: String,
    /// The thing that it is a part of; empty if it stands for itself.
    pub whole: String,
}

/// The fields of answers that name what was made. A field that holds something
/// else than expected counts as absent.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'j> {
    #[serde(borrow)]
    id: Option<&'j RawValue>,
    /// A batch's.
    #[serde(borrow)]
    output_file_id: Option<&'j RawValue>,
    #[serde(borrow)]
    error_file_id: Option<&'j RawValue>,
    /// A fine-tuning job's.
    #[serde(borrow)]
    result_files: Option<&'j RawValue>,
    #[serde(borrow)]
    fine_tuned_model: Option<&'j RawValue>,
    #[serde(borrow)]
    fine_tuned_model_checkpoint: Option<&'j RawValue>,
    /// A run's, whose making may have made the thread.
    #[serde(borrow)]
    thread_id: Option<&'j RawValue>,
    /// The file of an upload that is complete.
    #[serde(borrow)]
    file: Option<&'j RawValue>,
    /// The response of a stream's event.
    #[serde(borrow)]
    response: Option<&'j RawValue>,
    /// The parts of a response, or the one that an event is about.
    #[serde(borrow)]
    output: Option<&'j RawValue>,
    #[serde(borrow)]
    item: Option<&'j RawValue>,
    /// A message's.
    #[serde(borrow)]
    content: Option<&'j RawValue>,
    /// A run's step's.
    #[serde(borrow)]
    step_details: Option<&'j RawValue>,
    /// The items of a list.
    #[serde(borrow)]
    data: Option<&'j RawValue>,
}

#[derive(Deserialize)]
struct Thing {
    id: String,
}

/// A part of a response's output.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Item<'j> {
    container_id: Option<String>,
    #[serde(borrow)]
    content: Option<&'j RawValue>,
}

/// A part of a message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part<'j> {
    image_file: Option<FileId>,
    #[serde(borrow)]
    annotations: Option<&'j RawValue>,
    #[serde(borrow)]
    text: Option<&'j RawValue>,
}

/// What a model refers to in its text.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotation {
    container_id: Option<String>,
    file_id: Option<String>,
    file_path: Option<FileId>,
}

#[derive(Deserialize)]
struct FileId {
    file_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details<'j> {
    #[serde(borrow)]
    tool_calls: Option<&'j RawValue>,
}

#[derive(Deserialize)]
struct ToolCall {
    code_interpreter: Interpreted,
}

#[derive(Deserialize)]
struct Interpreted {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    image: Option<FileId>,
}

/// What `json`, an answer from `origin`, says that it made.
pub fn made(json: &[u8], origin: Origin<'_>) -> Vec<Made> {
    let mut found = Finds(Vec::new());
    found.answer(json, origin);
    found.0.retain(|made| !made.id.is_empty() && made.id != made.whole);
    found.0
}

/// Whether an answer may name what a model's tools made: they are named late in a
/// stream.
pub fn may_name_outputs(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"\"container_id\"").is_some()
}

struct Finds(Vec<Made>);

impl Finds {
    fn answer(&mut self, json: &[u8], origin: Origin<'_>) {
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(json) else { return };
        let thread = text(answer.thread_id);
        if let Some(id) = text(answer.id) {
            let thread = thread.as_deref().filter(|_| origin.kind == THREADS);
            self.add(&id, origin.kind, thread.or(origin.whole));
        }
        if let Some(thread) = thread {
            self.add(&thread, THREADS, None);
        }
        for file in [answer.output_file_id, answer.error_file_id] {
            self.add_all(text(file), FILES);
        }
        self.add_all(many::<String>(answer.result_files), FILES);
        self.add_all(thing(answer.file), FILES);
        for model in [answer.fine_tuned_model, answer.fine_tuned_model_checkpoint] {
            self.add_all(text(model), MODELS);
        }
        self.response(&answer);
        if let Some(response) = answer.response {
            self.add_all(thing(Some(response)), RESPONSES);
            if let Ok(response) = serde_json::from_str::<Answer<'_>>(response.get()) {
                self.response(&response);
            }
        }
        if origin.items {
            let inner = Origin { items: false, ..origin };
            for item in many::<&RawValue>(answer.data) {
                self.answer(item.get().as_bytes(), inner);
            }
        }
    }

    /// What a model's tools made.
    fn response(&mut self, answer: &Answer<'_>) {
        self.content(answer.content);
        for item in many::<&RawValue>(answer.output).into_iter().chain(answer.item) {
            let item = serde_json::from_str::<Item<'_>>(item.get()).unwrap_or_default();
            self.add_all(item.container_id, CONTAINERS);
            self.content(item.content);
        }
        let Some(details) = answer.step_details else { return };
        let details = serde_json::from_str::<Details<'_>>(details.get()).unwrap_or_default();
        for call in each::<ToolCall>(details.tool_calls) {
            let images = call.code_interpreter.outputs.into_iter().filter_map(|it| it.image);
            self.add_all(images.map(|image| image.file_id), FILES);
        }
    }

    fn content(&mut self, content: Option<&RawValue>) {
        for part in many::<&RawValue>(content) {
            let part = serde_json::from_str::<Part<'_>>(part.get()).unwrap_or_default();
            self.add_all(part.image_file.map(|image| image.file_id), FILES);
            self.annotations(part.annotations);
            // With assistants the text is an object that has them.
            let inner = part.text.map(|text| serde_json::from_str::<Part<'_>>(text.get()));
            if let Some(Ok(text)) = inner {
                self.annotations(text.annotations);
            }
        }
    }

    fn annotations(&mut self, annotations: Option<&RawValue>) {
        for annotation in each::<Annotation>(annotations) {
            if let Some(container) = annotation.container_id {
                self.add(&container, CONTAINERS, None);
                if let Some(file) = annotation.file_id {
                    self.add(&file, CONTAINERS, Some(&container));
                }
            }
            self.add_all(annotation.file_path.map(|path| path.file_id), FILES);
        }
    }

    fn add_all(&mut self, ids: impl IntoIterator<Item = String>, kind: &str) {
        ids.into_iter().for_each(|id| self.add(&id, kind, None));
    }

    fn add(&mut self, id: &str, kind: &str, whole: Option<&str>) {
        let whole = whole.unwrap_or_default().to_owned();
        self.0.push(Made { id: id.to_owned(), kind: kind.to_owned(), whole });
    }
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

fn thing(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<Thing>(raw?.get()).ok().map(|thing| thing.id)
}

/// A list whose items are all of one kind.
fn many<'j, T: Deserialize<'j>>(raw: Option<&'j RawValue>) -> Vec<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// The items of a list that are of one kind.
fn each<T: for<'j> Deserialize<'j>>(raw: Option<&RawValue>) -> Vec<T> {
    let items = many::<&RawValue>(raw).into_iter();
    items.filter_map(|item| serde_json::from_str(item.get()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kind/id`, or `kind/whole/id`, of each.
    fn found(json: &str, kind: &str, whole: Option<&str>, items: bool) -> Vec<String> {
        let named = |made: Made| match &*made.whole {
            "" => format!("{}/{}", made.kind, made.id),
            whole => format!("{}/{whole}/{}", made.kind, made.id),
        };
        made(json.as_bytes(), Origin { kind, whole, items }).into_iter().map(named).collect()
    }

    #[test]
    fn an_answer_names_what_it_made_and_not_what_it_repeats() {
        let batch = r#"{"id":"batch_1","input_file_id":"file-in","output_file_id":"file-out",
            "error_file_id":null,"metadata":{"id":"file-echo"},"data":[{"id":"file-item"}]}"#;
        assert_eq!(found(batch, "batches", None, false), ["batches/batch_1", "files/file-out"]);
        let upload = r#"{"id":"upload_1","file":{"id":"file-1"}}"#;
        assert_eq!(found(upload, "uploads", Some("upload_1"), false), ["files/file-1"]);
        let job = r#"{"id":7,"result_files":["file-1","file-2"],"fine_tuned_model":"ft:m:1"}"#;
        assert_eq!(
            found(job, "fine_tuning", None, false),
            ["files/file-1", "files/file-2", "models/ft:m:1"]
        );
        assert!(found("no", "files", None, true).is_empty());
    }

    #[test]
    fn parts_are_told_from_what_stands_for_itself() {
        let run = r#"{"id":"run_1","thread_id":"thread_1","assistant_id":"asst_1"}"#;
        assert_eq!(
            found(run, "threads", None, false),
            ["threads/thread_1/run_1", "threads/thread_1"]
        );
        assert_eq!(
            found(r#"{"data":[{"id":"m1"},{}]}"#, "threads", Some("t1"), true),
            ["threads/t1/m1"]
        );
        let checkpoints = r#"{"data":[{"id":"c1","fine_tuned_model_checkpoint":"ft:m:c"}]}"#;
        assert_eq!(
            found(checkpoints, "fine_tuning", Some("ftjob-1"), true),
            ["fine_tuning/ftjob-1/c1", "models/ft:m:c"]
        );
    }

    #[test]
    fn what_a_code_interpreter_made_is_found() {
        let output = r#"[{"type":"code_interpreter_call","container_id":"cntr_1"},
            {"type":"message","content":[{"type":"output_text","text":"see",
            "annotations":[{"container_id":"cntr_1","file_id":"cfile_1"},{"file_id":"file-cited"}]}]}]"#;
        let wanted = ["containers/cntr_1", "containers/cntr_1", "containers/cntr_1/cfile_1"];
        let response = format!(r#"{{"id":"resp_1","output":{output},"tools":{output}}}"#);
        assert_eq!(found(&response, "responses", None, false)[1..], wanted);
        let event = format!(r#"{{"type":"response.completed","response":{response}}}"#);
        assert_eq!(found(&event, "responses", None, false)[1..], wanted);
        assert!(may_name_outputs(event.as_bytes()));

        let message = r#"{"id":"m","content":[{"image_file":{"file_id":"file-i"}},{"text":
            {"value":"v","annotations":[{"file_path":{"file_id":"file-p"}}]}}]}"#;
        assert_eq!(
            found(message, "threads", Some("t"), false)[1..],
            ["files/file-i", "files/file-p"]
        );
        let step = r#"{"step_details":{"tool_calls":[{"type":"function"},
            {"code_interpreter":{"outputs":[{"logs":"l"},{"image":{"file_id":"file-s"}}]}}]}}"#;
        assert_eq!(found(step, "threads", Some("t"), false), ["files/file-s"]);
    }
}
