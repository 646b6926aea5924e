// A small Socket.IO client: Engine.IO 4 over a WebSocket, one namespace, text events and their acknowledgements.
// It is a hint of its own kind: who joins says after which version, and so misses nothing by a lost connection.

const RETRY = 1000;

export class Socket {
  constructor(namespace, { onEvent, onConnect = () => {}, onLost = () => {}, onRefused = () => {} }) {
    Object.assign(this, { namespace, onEvent, onConnect, onLost, onRefused, waiting: [], asked: new Map(), connected: false, closed: false });
    this.open();
  }

  open() {
    const at = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket.io/?EIO=4&transport=websocket`;
    this.line = new WebSocket(at);
    this.line.onmessage = ({ data }) => this.take(String(data));
    this.line.onclose = () => {
      this.connected = false;
      this.asked.clear();
      if (this.closed) return;
      this.onLost();
      setTimeout(() => this.closed || this.open(), RETRY);
    };
  }

  take(packet) {
    if (packet[0] === "0") this.line.send(`40${this.prefix()}`); // opened: now the namespace
    else if (packet[0] === "2") this.line.send("3" + packet.slice(1)); // a ping
    else if (packet[0] === "4") this.message(packet[1], packet.slice(2));
  }

  message(kind, rest) {
    let namespace = "/";
    if (rest[0] === "/") {
      const end = rest.indexOf(",");
      namespace = end < 0 ? rest : rest.slice(0, end);
      rest = end < 0 ? "" : rest.slice(end + 1);
    }
    if (namespace !== this.namespace) return;
    if (kind === "0") {
      this.connected = true;
      this.onConnect();
      for (const packet of this.waiting.splice(0)) this.line.send(packet);
    } else if (kind === "1") this.line.close(); // the server ended this namespace
    else if (kind === "2") {
      const [name, payload] = JSON.parse(rest.slice(rest.indexOf("[")));
      this.onEvent(name, payload);
    } else if (kind === "3") {
      const number = parseInt(rest, 10);
      this.asked.get(number)?.(JSON.parse(rest.slice(rest.indexOf("[")))[0]);
      this.asked.delete(number);
    } else if (kind === "4") {
      this.close();
      this.onRefused(JSON.parse(rest || "{}").message ?? "refused");
    }
  }

  // answered: called with the acknowledgement, unless the connection is lost before it.
  emit(name, payload, answered) {
    const number = answered ? (this.count = (this.count ?? 0) + 1) : "";
    if (answered) this.asked.set(number, answered);
    const packet = `42${this.prefix()}${number}${JSON.stringify([name, payload])}`;
    if (this.connected) this.line.send(packet);
    else this.waiting.push(packet);
  }

  prefix() {
    return this.namespace === "/" ? "" : `${this.namespace},`;
  }

  close() {
    this.closed = true;
    this.line.close();
  }
}
