//! Tests of the kernel's IPVS: netlink messages, `ipvsadm` on IPVS and on evenkeel's packet path, the daemon on IPVS, and the
//! switch between both data planes.

mod compare;
mod daemon;
mod data_planes;
mod extensions;
mod golden;
mod messages;
mod network;
