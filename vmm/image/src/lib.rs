//! Environments: root images, kernel and initramfs.
