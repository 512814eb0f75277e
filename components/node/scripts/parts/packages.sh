# shellcheck shell=bash
# Part of scripts: what this node's distribution calls its packages. The script has ROOT.
#   find_distribution     reads os-release: sets distribution (its ID) and family (debian, ubuntu, rhel, fedora, suse, arch or other)
#   package_of PROGRAM... prints the packages that have these programs
#   brings                prints what brings missing modules of the kernel that runs
#   installs PACKAGE...   installs packages by the distribution's own program, and prints what that says
distribution='' family=''
find_distribution() {
  local key value like=''
  [[ -z $family ]] || return 0
  if [[ -r $ROOT/etc/os-release ]]; then
    while IFS='=' read -r key value; do
      value=${value#[\"\']} value=${value%[\"\']}
      case $key in ID) distribution=$value ;; ID_LIKE) like=$value ;; esac
    done < "$ROOT/etc/os-release"
  fi
  case " $distribution $like " in
    *' ubuntu '*) family=ubuntu ;;
    *' debian '*) family=debian ;;
    ' fedora '*) family=fedora ;;
    *' rhel '* | *' centos '* | *' fedora '*) family=rhel ;;
    *' suse '* | *' opensuse '* | *' sles '*) family=suse ;;
    *' arch '*) family=arch ;;
    *) family=other ;;
  esac
}
package_of() {
  local each found=()
  find_distribution
  for each in "$@"; do
    case $each:$family in
      python3:arch) each=python ;;
      ip:rhel | ip:fedora) each=iproute ;;
      ip:*) each=iproute2 ;;
      flock:*) each=util-linux ;;
      timeout:*) each=coreutils ;;
      growpart:rhel | growpart:fedora) each=cloud-utils-growpart ;;
      growpart:suse) each=growpart ;;
      growpart:*) each=cloud-guest-utils ;;
      resize2fs:* | mkfs.ext4:*) each=e2fsprogs ;;
      xfs_growfs:* | mkfs.xfs:*) each=xfsprogs ;;
      btrfs:suse) each=btrfsprogs ;;
      btrfs:*) each=btrfs-progs ;;
      qemu-ga:*) each=qemu-guest-agent ;;
      systemctl:*) each=systemd ;;
    esac
    [[ " ${found[*]} " == *" $each "* ]] || found+=("$each")
  done
  echo "${found[*]}"
}
brings() {
  local kernel=${release:-$(uname -r)}
  find_distribution
  case $family:$distribution in
    ubuntu:*) echo "package linux-modules-extra-$kernel (Ubuntu)" ;;
    debian:*) echo "package linux-image-amd64 in place of the cloud kernel's, and a restart; or Debian's image generic" ;;
    rhel:ol) echo "package kernel-modules-extra-$kernel, with Oracle's own kernel kernel-uek-modules-extra-$kernel" ;;
    rhel:* | fedora:*) echo "package kernel-modules-extra-$kernel (Red Hat and its kin, Fedora)" ;;
    suse:*) echo "package kernel-default in place of kernel-default-base, and a restart (SUSE)" ;;
    arch:*) echo "package linux (Arch), and a restart: an upgrade removes the modules of the kernel that runs" ;;
    *) echo "another kernel package of ${distribution:-this image}" ;;
  esac
}
installs() {
  find_distribution
  case $family in
    debian | ubuntu)
      export DEBIAN_FRONTEND=noninteractive
      apt-get -q -o DPkg::Lock::Timeout=60 update && apt-get -q -y -o DPkg::Lock::Timeout=60 --no-install-recommends install "$@"
      ;;
    rhel | fedora) dnf -y --setopt=install_weak_deps=False install "$@" ;;
    suse) zypper --non-interactive install --no-recommends "$@" ;;
    # The lists of an image are old, and what they name is deleted from the mirrors.
    arch) pacman -Sy --noconfirm --needed "$@" ;;
    *)
      echo "no package manager is known of ${distribution:-this image}"
      return 1
      ;;
  esac
}
