"""The devices among what `known.py` knows, written as there."""

DEVICES = """
devices:
!devices/emulator: #/
devices/*/alias: name
devices/*/address: base bus controller cssid devno domain function iobase irq multifunction port reg slot ssid target
devices/*/address: type unit uuid
devices/*/address/zpci: fid uid
devices/*/acpi: index
devices/*/boot: loadparm order
!devices/*/rom: bar enabled file/
!devices/disk: device model rawio sgio snapshot type
devices/disk/{readonly,shareable}:
devices/disk/{product,serial,vendor,wwn}: #
devices/disk/{auth,encryption}: username engine format
!devices/disk/{auth,encryption}/secret: type usage/ uuid
{devices/disk,image/source}/encryption/cipher: hash mode name size
{devices/disk,image/source}/encryption/ivgen: hash name
!devices/disk/backingStore: index type
devices/disk/{backingStore,mirror}/format: type
devices/disk/{backingStore,mirror}/format/metadata_cache:
devices/disk/{backingStore,mirror}/format/metadata_cache/max_size: # unit
devices/disk/blockio: discard_granularity logical_block_size physical_block_size
devices/disk/driver: ats cache copy_on_read detect_zeroes discard discard_no_unref error_policy event_idx io ioeventfd
devices/disk/driver: iommu iothread name packed page_per_vq queue_size queues rerror_policy type
devices/disk/driver/{iothreads,metadata_cache}:
{devices/disk,devices/controller}/driver/iothreads/iothread: id
{devices/disk,devices/controller}/driver/iothreads/iothread/queue: id
devices/disk/driver/metadata_cache/max_size: # unit
devices/disk/geometry: cyls heads secs trans
devices/disk/{iotune,throttlefilters}:
devices/disk/throttlefilters/throttlefilter: group
!devices/disk/mirror: file/ format job ready type
devices/disk/target: bus dev removable rotation_rate tray
devices/disk/transient: shareBacking
image/source: dev/ dir/ fdgroup file/ index managed mode name/ namespace path/ pool protocol query startupPolicy tls
image/source: tlsHostname type volume
image/source/address: bus domain function multifunction slot
image/source/{auth,encryption}: username engine format
!image/source/{auth,encryption}/secret: type usage/ uuid
!image/source/config: file/
image/source/{cookies,initiator,slices}:
image/source/cookies/cookie: #/ name
!image/source/dataStore: type
image/source/dataStore/format: type
image/source/dataStore/format/metadata_cache:
image/source/dataStore/format/metadata_cache/max_size: # unit
image/source/host: name port socket/ transport
!image/source/identity: agentsock/ group keyfile/ user username
!image/source/knownHosts: path/
image/source/initiator/iqn: name
image/source/readahead: size
image/source/reconnect: delay enabled timeout
!image/source/reservations: managed
image/source/reservations/source: mode path/ type
image/source/reservations/source/reconnect: delay enabled timeout
{image/source,char/source}/seclabel: labelskip model relabel
{image/source,char/source}/seclabel/label: #
image/source/slices/slice: offset size type
image/source/snapshot: name
image/source/ssl: verify
image/source/timeout: seconds
!devices/filesystem: accessmode dmode fmode model multidevs type
!devices/filesystem/binary: path/ xattr
devices/filesystem/binary/{cache,sandbox}: mode
devices/filesystem/binary/lock: flock posix
devices/filesystem/binary/openfiles: max
devices/filesystem/binary/thread_pool: size
devices/filesystem/driver: ats format iommu name packed page_per_vq queue type wrpolicy
devices/filesystem/idmap:
devices/filesystem/idmap/{gid,uid}: count start target
devices/filesystem/readonly:
devices/filesystem/{space_hard_limit,space_soft_limit}: # unit
devices/filesystem/source: dev/ dir/ file/ name/ pool socket/ units usage volume
devices/filesystem/target: dir/
!devices/{serial,parallel,console,channel,redirdev}: bus tty/ type
!devices/smartcard: mode type
devices/smartcard/{certificate,database}: #/
devices/{serial,parallel,console,channel,smartcard}/target: address name port state type
devices/{serial,parallel,console,smartcard}/target/model: name
char/source: append bus channel device host master mode path/ service slave tls
char/source/clipboard: copypaste
char/source/mouse: mode
char/source/reconnect: delay enabled timeout
char/protocol: type
!char/log: append file/
devices/redirfilter:
devices/redirfilter/usbdev: allow class product vendor version
!devices/rng: model
devices/rng/backend: #/ model type
devices/rng/rate: bytes period
!devices/graphics: address autoport connected defaultMode display/ fullscreen keymap listen multiUser p2p passwd
!devices/graphics: passwdValidTo port powerControl replaceUser sharePolicy socket/ tlsPort type username websocket
!devices/graphics: xauth/
!devices/graphics/gl: enable rendernode/
!devices/graphics/listen: address network socket/ type
devices/{graphics,sound}/audio: id
devices/graphics/channel: mode name
devices/graphics/clipboard: copypaste
devices/graphics/filetransfer: enable
devices/graphics/{image,jpeg,playback,zlib}: compression
devices/graphics/{mouse,streaming}: mode
!devices/video:
devices/video/driver: ats iommu name packed page_per_vq vgaconf
devices/video/model: blob edid heads primary ram type vgamem vram vram64
devices/video/model/acceleration: accel2d accel3d rendernode/
devices/video/model/resolution: x y
!devices/audio: driver dspPolicy exclusive id path/ runtimeDir/ serverName/ timerPeriod tryMMap type
!devices/audio/{input,output}: bufferCount bufferLength clientName connectPorts dev/ exactName fixedSettings latency
!devices/audio/{input,output}: mixingEngine name serverName streamName tryPoll voices
devices/audio/{input,output}/settings: channels format frequency
devices/sound: model multichannel streams
devices/sound/codec: type
!devices/hostdev: display managed mode model ramfb rawio sgio type
devices/hostdev/driver: iommufd model name
devices/hostdev/{ip,route}: address family gateway metric netmask peer prefix
devices/hostdev/{readonly,shareable}:
devices/hostdev/source: guestReset name protocol startupPolicy writeFiltering wwpn
devices/hostdev/source/adapter: managed name parent parent_fabric_wwn parent_wwnn parent_wwpn type wwnn wwpn
devices/hostdev/source/adapter/parentaddr: unique_id
devices/hostdev/source/adapter/parentaddr/address: bus domain function multifunction slot
devices/hostdev/source/address: bus device domain function multifunction slot target unit uuid
devices/hostdev/source/address/zpci: fid uid
devices/hostdev/source/auth: username
!devices/hostdev/source/auth/secret: type usage/ uuid
devices/hostdev/source/{block,char,interface}: #/
devices/hostdev/source/host: name port
devices/hostdev/source/initiator:
devices/hostdev/source/initiator/iqn: name
devices/hostdev/source/{product,vendor}: id
devices/{hostdev,interface}/teaming: persistent type
!devices/interface: managed trustGuestRxFilters type
!devices/interface/backend: hostname fqdn logFile/ tap/ type vhost/
devices/{interface,disk}/backenddomain: name
devices/interface/bandwidth: classID
devices/interface/bandwidth/{inbound,outbound}: average burst floor peak
devices/interface/{coalesce,coalesce/rx}:
devices/interface/coalesce/rx/frames: max
devices/interface/driver: ats event_idx ioeventfd iommu model name packed page_per_vq queues rss rss_hash_report
devices/interface/driver: rx_queue_size tx_queue_size txmode
devices/interface/driver/{guest,host}: csum ecn gso mrg_rxbuf tso4 tso6 ufo
!devices/interface/filterref: filter
devices/interface/filterref/parameter: name value
devices/interface/guest: actual dev
devices/interface/{ip,route}: address family gateway metric netmask peer prefix
devices/interface/link: state
devices/interface/mac: address check currentAddress type
devices/interface/model: type
devices/interface/mtu: size
devices/interface/port: isolated
devices/interface/portForward: address dev proto
devices/interface/portForward/range: end exclude start to
!devices/interface/{script,downscript}: path/
devices/interface/source: address bridge connectionid dev/ macTableManager managed missing mode name network path/
devices/interface/source: port portgroup portgroupid portid switchid type
devices/interface/source/address: bus device domain function multifunction slot type
devices/interface/source/address/zpci: fid uid
devices/interface/source/{ip,route}: address family gateway metric netmask peer prefix
devices/interface/source/local: address port
devices/interface/source/{product,vendor}: id
devices/interface/source/reconnect: delay enabled timeout
devices/interface/target: dev managed
devices/interface/tune:
devices/interface/tune/sndbuf: #
devices/interface/virtualport: type
devices/interface/virtualport/parameters: instanceid interfaceid managerid profileid typeid typeidversion
devices/interface/vlan: trunk
devices/interface/vlan/tag: id nativeMode
devices/controller: index maxEventChannels maxGrantFrames model ports type vectors
devices/controller/driver: ats cmd_per_lun event_idx ioeventfd iommu iothread max_sectors packed page_per_vq queues
devices/controller/driver/iothreads:
devices/controller/master: startport
devices/controller/model: name
devices/controller/pcihole64: # unit
devices/controller/target: busNr chassis chassisNr hotplug index memReserve port
devices/controller/target/node: #
!devices/crypto: model type
devices/crypto/backend: model queues
devices/{crypto,input,memballoon,rng,sound,vsock}/driver: ats event_idx ioeventfd iommu packed page_per_vq queues
devices/hub: type
!devices/input: bus model type
devices/input/source: dev/ evdev/ grab grabToggle repeat
!devices/iommu: model
devices/iommu/driver: aw_bits caching_mode dma_translation eim intremap iotlb
!devices/lease:
devices/lease/{key,lockspace}: #
devices/lease/target: offset path/
devices/memballoon: autodeflate freePageReporting model
devices/memballoon/stats: period
!devices/memory: access discard model
devices/memory/{source,target}:
devices/memory/source/{alignsize,pagesize}: # unit
devices/memory/source/{nodemask,path}: #/
devices/memory/source/pmem:
devices/memory/target: dynamicMemslots
devices/memory/target/address: base
devices/memory/target/{block,current,requested,size,label/size}: # unit
devices/memory/target/node: #
devices/memory/target/{label,readonly}:
devices/memory/uuid: #
devices/nvram:
devices/panic: model
!devices/pstore: backend
devices/pstore/path: #/
devices/pstore/size: # unit
!devices/shmem: name role
devices/shmem/model: type
devices/shmem/msi: enabled ioeventfd vectors
devices/shmem/server: path/
devices/shmem/size: # unit
!devices/tpm: model
devices/tpm/backend: debug persistent_state type version
devices/tpm/backend/active_pcr_banks:
devices/tpm/backend/active_pcr_banks/{sha1,sha256,sha384,sha512}:
devices/tpm/backend/device: path/
!devices/tpm/backend/encryption: secret
devices/tpm/backend/profile: name removeDisabled source remove_disabled
devices/tpm/backend/source: mode path/ type
!devices/vsock: model
devices/vsock/cid: address auto
devices/watchdog: action model
"""
