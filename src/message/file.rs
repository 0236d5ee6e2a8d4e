//! A notifier that writes messages to files.

use std::path::PathBuf;

use super::{Message, Notifier, NotifyError, Sending, TextMessages};

/// Writes every message with its codes and links into a folder, for development.
///
/// Each message becomes `<id>.txt`; a mail also becomes `<id>.html`. Ids grow with time, so the
/// last name is the newest message.
#[derive(Debug, Clone)]
pub struct FileNotifier {
    folder: PathBuf,
}

impl FileNotifier {
    /// Writes into this folder, which is created with the first message.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    async fn write(&self, message: &Message) -> Result<(), NotifyError> {
        let text = format!(
            "From: {} <{}>\nTo: {}\nSubject: {}\nDate: {}\n\n{}",
            message.from_name,
            message.from_address.as_deref().unwrap_or_default(),
            message.to.as_str(),
            message.subject,
            message.at,
            message.text,
        );
        let (folder, id, html) = (self.folder.clone(), message.id, message.html.clone());
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            if let Some(html) = html {
                std::fs::write(folder.join(format!("{id}.html")), html)?;
            }
            std::fs::write(folder.join(format!("{id}.txt")), text)
        });
        match written.await {
            Ok(result) => result.map_err(NotifyError::temporary),
            Err(died) => Err(NotifyError::temporary(died)),
        }
    }
}

impl Notifier for FileNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(self.write(message))
    }
}

impl TextMessages for FileNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(self.write(message))
    }
}
