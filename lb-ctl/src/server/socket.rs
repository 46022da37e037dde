//! The control socket's place in the file system: who owns the path, with which mode, and whether it is still there.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::ServerError;

/// Who may reach the socket. Who may use it is decided for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The daemon's user and group: mode 0660, in a directory of 0750.
    Owner,
    /// Every process of the host: mode 0666, in a directory of 0755.
    Host,
}

/// A bound socket and the file that clients find it by.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    reach: Reach,
    /// Device and inode of the socket's file.
    file: (u64, u64),
}

impl Place {
    /// Listens on `path`; directories that are missing are made, a socket that nobody answers on is replaced.
    pub(super) fn bind(path: &Path, reach: Reach) -> Result<(Place, UnixListener), ServerError> {
        let system = |error| ServerError::System(path.into(), error);
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(reach.directory_mode())
                .create(directory)
                .map_err(system)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(system)?;
        rustix::net::listen(&listener, BACKLOG).map_err(|error| system(error.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(reach.socket_mode())).map_err(system)?;
        listener.set_nonblocking(true).map_err(system)?;
        let metadata = fs::symlink_metadata(path).map_err(system)?;
        Ok((Place { path: path.into(), reach, file: (metadata.dev(), metadata.ino()) }, listener))
    }

    /// Whether clients still find the socket.
    pub(super) fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file)
    }

    /// Listens anew, after the socket's file was lost.
    pub(super) fn rebind(&mut self) -> Result<UnixListener, ServerError> {
        let (place, listener) = Place::bind(&self.path, self.reach)?;
        *self = place;
        Ok(listener)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path); // Somebody may have been quicker.
        }
    }
}

impl Reach {
    const fn socket_mode(self) -> u32 {
        match self {
            Reach::Owner => 0o660,
            Reach::Host => 0o666,
        }
    }

    const fn directory_mode(self) -> u32 {
        match self {
            Reach::Owner => 0o750,
            Reach::Host => 0o755,
        }
    }
}

fn remove_stale(socket: &Path) -> Result<(), ServerError> {
    let system = |error| ServerError::System(socket.into(), error);
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket(socket.into()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(socket) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(socket).map_err(system)
        }
        Err(error) => Err(system(error)),
        Ok(_) => Err(ServerError::InUse(socket.into())),
    }
}

/// Connections that wait to be accepted. A client that does not wait for its turn is refused when there are more.
const BACKLOG: i32 = 1_024;
