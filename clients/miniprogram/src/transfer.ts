/** Files, streams and WebSockets under the session. */

import type { Client } from "./client.js";
import type { Abortable, Auth, RequestOptions } from "./options.js";
import type { Answer, Progress, SocketOptions, SocketTask, Start, Task, WireOptions } from "./platform.js";
import { assign } from "./plain.js";

export interface UploadOptions extends RequestOptions {
  filePath: string;
  name: string;
  formData?: Record<string, unknown>;
  onProgress?(event: Progress): void;
}

export interface DownloadOptions extends RequestOptions {
  filePath?: string;
  onProgress?(event: Progress): void;
}

export interface StreamOptions extends RequestOptions {
  /** A piece of the body of a success; never of a refusal. */
  onChunk(chunk: ArrayBuffer): void;
}

export interface SocketRequest extends SocketOptions {
  auth?: Auth;
  /** False: rejects where the login page would open. */
  mayAsk?: boolean;
  /** Milliseconds until it is open. */
  timeout?: number;
}

/** Milliseconds without progress. */
const QUIET = 120e3;

export const transfers = (client: Client) => {
  const { platform, _inside: inside } = client;

  const progress = (options: { onProgress?(event: Progress): void }, task: Task | void, alive: () => void) => {
    if (task && task.onProgressUpdate) {
      task.onProgressUpdate((event) => {
        alive();
        if (options.onProgress) options.onProgress(event);
      });
    }
    return task;
  };

  /** As `wx.uploadFile`; `data` is parsed where it is JSON. */
  const upload = <T = any>(options: UploadOptions): Abortable<Answer<T>> => {
    const start: Start<WireOptions> | undefined =
      platform.uploadFile &&
      ((wire, alive) => {
        const success = (answer: Answer) => wire.success(assign({}, answer, { data: parsed(answer.data) }));
        const task = (platform.uploadFile as Start<WireOptions>)(assign({}, wire, { success }), alive);
        return progress(options, task, alive);
      });
    return inside._run(options, start, QUIET);
  };

  /** As `wx.downloadFile`. */
  const download = (options: DownloadOptions): Abortable<Answer> => {
    const start: Start<WireOptions> | undefined =
      platform.downloadFile &&
      ((wire, alive) => progress(options, (platform.downloadFile as Start<WireOptions>)(wire, alive), alive));
    return inside._run(options, start, QUIET);
  };

  /** A body that comes in pieces. On a base library without chunks (before 2.20.2) the one piece is the whole. */
  const stream = (options: StreamOptions): Abortable<Answer> => {
    const start: Start<WireOptions> = (wire, alive) => {
      let early: ArrayBuffer[] = [];
      let passing: boolean | undefined;
      const pass = () => {
        const chunks = early;
        early = [];
        chunks.forEach((chunk) => options.onChunk(chunk));
      };
      const success = (answer: Answer) => {
        if (answer.statusCode < 300) {
          const whole = answer.data;
          if (!early.length && passing === undefined && whole && whole.byteLength) early = [whole];
          pass();
        } else {
          // The refusal: in pieces, or whole.
          const body = early.length ? early : [answer.data];
          answer = assign({}, answer, { data: parsed(utf8(body)) });
        }
        wire.success(answer);
      };
      const task = platform.request(assign({}, wire, { enableChunked: true, responseType: "arraybuffer", success }), alive);
      if (task && task.onHeadersReceived) {
        task.onHeadersReceived(({ statusCode }) => {
          alive();
          // Without a status nothing is passed on before the end, which has one.
          passing = !!statusCode && statusCode < 300;
          if (passing) pass();
        });
      }
      if (task && task.onChunkReceived) {
        task.onChunkReceived(({ data }) => {
          alive();
          early.push(data);
          if (passing) pass();
        });
      }
      return task;
    };
    return inside._run(options, start);
  };

  /** A WebSocket that is open. One that the server closes for the session's sake (1008) has the session looked at. */
  const socket = async (options: SocketRequest): Promise<SocketTask> => {
    const { auth, mayAsk } = options;
    const { url, ours } = inside._locate(options.url.replace(/^ws/i, "http"));
    const send = async (again: boolean): Promise<SocketTask> => {
      const tokens = await inside._tokens(ours ? auth : "none", mayAsk);
      const access = tokens && tokens.access;
      try {
        return await open(url.replace(/^http/i, "ws"), options, access);
      } catch (error) {
        // Only the text of the failure tells of the status.
        if (again || !access || !/\b401\b/.test((error as Error).message)) throw error;
        await inside._recover(access, auth, mayAsk);
        return send(true);
      }
    };
    return send(false);
  };

  const open = (url: string, options: SocketRequest, access: string | undefined): Promise<SocketTask> => {
    const inQuery = access && platform.tokenInSocketQuery;
    if (inQuery) url += (url.indexOf("?") < 0 ? "?" : "&") + "access_token=" + encodeURIComponent(access);
    const header = inside._withToken(options.header, inQuery ? undefined : access);
    const connect = platform.connectSocket && ((wire: any) => connected(wire, access));
    const wire = assign({}, options, { url, header });
    return inside._settled<object, SocketTask>(connect, wire, options.timeout || 30e3);
  };

  const connected = (wire: any, access: string | undefined): Task => {
    const { success, fail } = wire;
    const task = (platform.connectSocket as (options: any) => SocketTask)(assign({}, wire, { success: undefined }));
    task.onOpen(() => success(task));
    task.onError(fail);
    task.onClose(({ code }) => {
      fail({ errMsg: "closed " + code });
      if (access && code == 1008) inside._renew(access).catch(() => 0);
    });
    return { abort: () => task.close({}) };
  };

  return { upload, download, stream, socket };
};

/** JSON where it is some: an upload's answer is a text. */
const parsed = (data: unknown): unknown => {
  if (typeof data == "string" && /^\s*[[{]/.test(data)) {
    try {
      return JSON.parse(data);
    } catch (_) {
      // It only looked like JSON.
    }
  }
  return data;
};

/** Bytes as text; what is no UTF-8 is empty. */
const utf8 = (chunks: unknown[]): string => {
  let escaped = "";
  chunks.forEach((chunk) => {
    if (chunk instanceof ArrayBuffer) {
      new Uint8Array(chunk).forEach((byte) => {
        escaped += "%" + (256 + byte).toString(16).slice(1);
      });
    }
  });
  try {
    return decodeURIComponent(escaped);
  } catch (_) {
    return "";
  }
};
