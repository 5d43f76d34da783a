/**
 * What the core needs of a platform: the functions of `wx` with their callbacks. Taro and uni-app have the same ones, so an
 * adapter is a few lines.
 */

/** An answer, as `wx.request` gives it to `success`: for every status, refusals too. */
export interface Answer<T = any> {
  statusCode: number;
  data: T;
  header: Record<string, string>;
  tempFilePath?: string;
  filePath?: string;
}

/** What `wx.request`, `wx.uploadFile` and `wx.downloadFile` return. Old base libraries lack some of it. */
export interface Task {
  abort?(): void;
  onHeadersReceived?(listener: (event: { statusCode?: number; header?: Record<string, string> }) => void): void;
  onChunkReceived?(listener: (event: { data: ArrayBuffer }) => void): void;
  onProgressUpdate?(listener: (event: Progress) => void): void;
}

/** How far an upload or a download is. */
export interface Progress {
  progress: number;
}

export interface Callbacks {
  success(result: any): void;
  fail(fault: any): void;
}

/** The options of a request, as `wx` has them. */
export interface WireOptions {
  url: string;
  method?: string;
  data?: unknown;
  header?: Record<string, string>;
  timeout?: number;
  dataType?: string;
  responseType?: string;
  enableChunked?: boolean;
  filePath?: string;
  name?: string;
  formData?: Record<string, unknown>;
}

/** What `wx.connectSocket` returns. */
export interface SocketTask {
  send(options: { data: string | ArrayBuffer; success?(): void; fail?(fault: unknown): void }): void;
  close(options: { code?: number; reason?: string }): void;
  onOpen(listener: (event: unknown) => void): void;
  onClose(listener: (event: { code?: number; reason?: string }) => void): void;
  onError(listener: (event: { errMsg?: string }) => void): void;
  onMessage(listener: (event: { data: string | ArrayBuffer }) => void): void;
}

export interface SocketOptions {
  url: string;
  header?: Record<string, string>;
  protocols?: string[];
}

/** Starts something that ends with one of the callbacks; `alive` lets its time begin anew, and `wx` passes it over. */
export type Start<O> = (options: O & Callbacks, alive: () => void) => Task | undefined | void;

/** A mini program's platform: `wx` and `uni` are one. */
export interface Platform {
  request: Start<WireOptions>;
  uploadFile?: Start<WireOptions>;
  downloadFile?: Start<WireOptions>;
  connectSocket?(options: SocketOptions & Partial<Callbacks>): SocketTask;
  /** `success` gets `{code}`. */
  login(options: Callbacks & { timeout?: number }): unknown;
  /** The value under a key; at once, or a promise of it. May throw. */
  getStorageSync(key: string): unknown;
  /** Stores a value under a key in one write; at once, or later, in the order of the calls. May throw. */
  setStorageSync(key: string, value: unknown): unknown;
  /** True where a WebSocket cannot have headers (browsers): the token goes into `access_token` of the query then. */
  tokenInSocketQuery?: boolean;
}
